"""What L2, DP-SGD and noise after training buy and cost on Location-30, an MLP beside an LSTM of groups of features.

Shows: the same as configs/tradeoff_digits.py on the set where plain models leak most.
Command: python scripts/tradeoff.py --config=configs/tradeoff_location30.py --workdir=runs/tradeoff_location30 \
    --config.data.source=npz:PATH/location30.npz
Data: as for configs/location30.py; it is not part of this project.
Time: under half an hour on two CPU cores.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    AttacksConfig,
    CanariesConfig,
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    TradeoffConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """32 models an arm, each trained on 1,000 of 2,000 records and on half of 32 canaries."""
    return to_config_dict(
        Config(
            name="tradeoff_location30",
            data=DataConfig(source="npz:location30.npz", pool_size=2000, population_size=2000),
            membership=MembershipConfig(num_models=32, train_size=1000),
            families={
                "lstm": FamilyConfig(kind="lstm", hidden=64, steps=16),
                "mlp": FamilyConfig(kind="mlp", match="lstm"),
            },
            training=TrainingConfig(epochs=30, batch_size=64, learning_rate=2e-3),
            canaries=CanariesConfig(count=32),
            attacks=AttacksConfig(names=("loss", "lira_online_global", "rmia_online")),
            tradeoff=TradeoffConfig(
                grid={
                    "l2": (1e-4, 1e-3, 1e-2),
                    "dp_sgd": (2.0, 4.0, 8.0, 16.0),
                    "parameter_noise": (0.02, 0.05, 0.1, 0.2),
                },
                draws=5,
            ),
        )
    )
