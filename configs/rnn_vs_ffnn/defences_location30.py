"""What L2, DP-SGD and noise after training buy and cost on Location-30, an LSTM beside an MLP.

Shows: whether defences do less for a recurrent network than for a feed-forward one of its size: at equal strength,
equal epsilon and equal attack success.
Command: python scripts/tradeoff.py --config=configs/rnn_vs_ffnn/defences_location30.py \
    --workdir=runs/rnn_vs_ffnn/defences_location30 --config.data.directory=PATH
Data: as for configs/rnn_vs_ffnn/location30.py.
Time: about 25 minutes on two CPU cores, reckoned from one pool (442 s).
With --config.scale=full it is made for accelerators.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    AttacksConfig,
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    TradeoffConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """64 models an arm and pool, each trained on half of its pool; three pools."""
    return to_config_dict(
        Config(
            name="rnn_vs_ffnn_defences_location30",
            data=DataConfig(source="npz:location30.npz", pool_size=1000, population_size=1000),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "lstm": FamilyConfig(kind="lstm", steps=16, hidden=64),
                "mlp": FamilyConfig(kind="mlp", match="lstm"),
            },
            training=TrainingConfig(epochs=30, learning_rate=2e-3),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            tradeoff=TradeoffConfig(
                grid={
                    "l2": (1e-4, 1e-3, 1e-2, 1e-1),
                    "dp_sgd": (2.0, 4.0, 8.0, 16.0),
                    "parameter_noise": (0.01, 0.02, 0.05, 0.1, 0.2),
                },
                seeds=(0, 1, 2),
                draws=5,
            ),
            scales={"full": {"membership": {"num_models": 256}}},
        )
    )
