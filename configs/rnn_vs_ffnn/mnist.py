"""Recurrent and feed-forward networks of one size on MNIST, read row by row, over three pools.

Shows: the same as configs/rnn_vs_ffnn/digits.py on whole images of 28 rows.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/mnist.py --workdir=runs/rnn_vs_ffnn/mnist \
    --config.data.directory=PATH
Data: mnist.npz in PATH with x_train, y_train, x_test and y_test; it is no part of this project.
Time: about 15 minutes on two CPU cores.
With --config.scale=full it is made for accelerators.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    AttacksConfig,
    ComparisonConfig,
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """64 models a family and pool, each trained on 500 of 1,000 records."""
    return to_config_dict(
        Config(
            name="rnn_vs_ffnn_mnist",
            data=DataConfig(source="npz:mnist.npz", pool_size=1000, population_size=1000),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "mlp": FamilyConfig(kind="mlp", match="lstm"),
                "rnn": FamilyConfig(kind="rnn", match="lstm"),
                "lstm": FamilyConfig(kind="lstm", hidden=55),
                "gru": FamilyConfig(kind="gru", match="lstm"),
            },
            training=TrainingConfig(epochs=30, learning_rate=2e-3),
            recording=RecordingConfig(epochs=(0, 1, 2, 4, 7, 11, 15, 20, 25, 30), logits="all"),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            comparison=ComparisonConfig(pools=3),
            scales={
                "full": {
                    "data": {"pool_size": 4000, "population_size": 2000},
                    "membership": {"num_models": 256, "train_size": 2000},
                    "comparison": {"pools": 3},
                }
            },
        )
    )
