"""What L2, DP-SGD, label smoothing, early stopping and noise after training buy and cost on scikit-learn's digits.

Shows: an LSTM and an MLP of the same size, attack success and accuracy against each defence's strength; what
is promised (epsilon by accounting) beside what is proven (epsilon by an audit with canaries).
Command: python scripts/tradeoff.py --config=configs/tradeoff_digits.py --workdir=runs/tradeoff_digits
Time: three minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    AttacksConfig,
    CanariesConfig,
    Config,
    DataConfig,
    MembershipConfig,
    TradeoffConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """32 models an arm, each trained on 500 of 1,000 records and on half of 32 canaries."""
    return to_config_dict(
        Config(
            name="tradeoff_digits",
            data=DataConfig(pool_size=1000, population_size=400),
            membership=MembershipConfig(num_models=32, train_size=500),
            training=TrainingConfig(epochs=30, batch_size=32),
            canaries=CanariesConfig(count=32),
            attacks=AttacksConfig(names=("loss", "lira_online_global", "rmia_online")),
            tradeoff=TradeoffConfig(
                grid={
                    "l2": (1e-4, 1e-3, 1e-2),
                    "label_smoothing": (0.1, 0.4),
                    "early_stopping": (3.0, 10.0),
                    "dp_sgd": (2.0, 4.0, 8.0, 16.0),
                    "parameter_noise": (0.02, 0.05, 0.1, 0.2),
                },
            ),
        )
    )
