"""Recurrent and feed-forward networks of one size on spoken digits, 64 steps of 32 mel bands.

Shows: the same as configs/rnn_vs_ffnn/digits.py on one pool.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/spoken_digit.py \
    --workdir=runs/rnn_vs_ffnn/spoken_digit \
    --config.data.directory=PATH
Data: spoken_digit.npz in PATH; it is no part of this project.
Time: about 4 minutes on two CPU cores.
With --config.scale=full it is made for accelerators: 256 models.
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
            name="rnn_vs_ffnn_spoken_digit",
            data=DataConfig(source="npz:spoken_digit.npz", pool_size=1000, population_size=500),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "mlp": FamilyConfig(kind="mlp", match="lstm"),
                "rnn": FamilyConfig(kind="rnn", match="lstm"),
                "lstm": FamilyConfig(kind="lstm", hidden=49),
                "gru": FamilyConfig(kind="gru", match="lstm"),
            },
            training=TrainingConfig(epochs=25, learning_rate=3e-3),
            recording=RecordingConfig(epochs=(0, 1, 2, 4, 6, 9, 13, 17, 21, 25), logits="all"),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            comparison=ComparisonConfig(pools=1),
            scales={"full": {"membership": {"num_models": 256}}},
        )
    )
