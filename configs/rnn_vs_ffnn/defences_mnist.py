"""What L2, DP-SGD and noise after training buy and cost on MNIST, read row by row, an LSTM beside an MLP.

Shows: whether defences do less for a recurrent network than for a feed-forward one of its size: at equal strength,
equal epsilon and equal attack success.
Command: python scripts/tradeoff.py --config=configs/rnn_vs_ffnn/defences_mnist.py \
    --workdir=runs/rnn_vs_ffnn/defences_mnist --config.data.directory=PATH
Data: as for configs/rnn_vs_ffnn/mnist.py.
Time: about 14 minutes on two CPU cores.
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
    """64 models an arm, each trained on half of the pool; one pool, as three take an hour."""
    return to_config_dict(
        Config(
            name="rnn_vs_ffnn_defences_mnist",
            data=DataConfig(source="npz:mnist.npz", pool_size=1000, population_size=1000),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "lstm": FamilyConfig(kind="lstm", hidden=55),
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
                draws=5,
            ),
            scales={
                "full": {
                    "data": {"pool_size": 4000, "population_size": 2000},
                    "membership": {"num_models": 256, "train_size": 2000},
                    "tradeoff": {"seeds": (0, 1, 2)},
                }
            },
        )
    )
