"""Recurrent and feed-forward networks of one size on Location-30, over three pools.

Shows: the same as configs/rnn_vs_ffnn/digits.py on the set where models leak most, read as 16
groups of features, which have no natural order.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/location30.py --workdir=runs/rnn_vs_ffnn/location30 \
    --config.data.directory=PATH
Data: `x` uint8 [5010, 446] and `y` [5010] of Shokri et al. 2017 in PATH/location30.npz; it is no part of this project.
Time: about 19 minutes on two CPU cores.
With --config.scale=full it is made for accelerators: 256 models a family and pool.
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
            name="rnn_vs_ffnn_location30",
            data=DataConfig(source="npz:location30.npz", pool_size=1000, population_size=1000),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "mlp": FamilyConfig(kind="mlp", match="lstm"),
                "rnn": FamilyConfig(kind="rnn", steps=16, match="lstm"),
                "lstm": FamilyConfig(kind="lstm", steps=16, hidden=64),
                "gru": FamilyConfig(kind="gru", steps=16, match="lstm"),
            },
            training=TrainingConfig(epochs=30, learning_rate=2e-3),
            recording=RecordingConfig(epochs=(0, 1, 2, 3, 4, 5, 7, 10, 15, 30), logits="all"),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            comparison=ComparisonConfig(
                pools=3,
                variants={
                    "n125": {"data": {"pool_size": 250}, "membership": {"train_size": 125}},
                    "n250": {"data": {"pool_size": 500}, "membership": {"train_size": 250}},
                },
            ),
            scales={"full": {"membership": {"num_models": 256}}},
        )
    )
