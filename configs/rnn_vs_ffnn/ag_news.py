"""Recurrent and feed-forward networks of one size on news of four topics, word by word.

Shows: the same as configs/rnn_vs_ffnn/digits.py on one pool.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/ag_news.py --workdir=runs/rnn_vs_ffnn/ag_news \
    --config.data.directory=PATH
Data: ag_news_subset.npz in PATH; it is no part of this project.
Time: about 7 minutes on two CPU cores.
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
            name="rnn_vs_ffnn_ag_news",
            data=DataConfig(source="npz:ag_news_subset.npz", pool_size=1000, population_size=500),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "mlp": FamilyConfig(kind="mlp", match="lstm"),
                "rnn": FamilyConfig(kind="rnn", match="lstm"),
                "lstm": FamilyConfig(kind="lstm", hidden=40),
                "gru": FamilyConfig(kind="gru", match="lstm"),
            },
            training=TrainingConfig(epochs=25, learning_rate=3e-3),
            recording=RecordingConfig(epochs=(0, 1, 2, 4, 6, 9, 13, 17, 21, 25), logits="all"),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            comparison=ComparisonConfig(pools=1),
            scales={
                "full": {
                    "data": {"pool_size": 2000, "population_size": 2000},
                    "membership": {"num_models": 256, "train_size": 1000},
                    "comparison": {"pools": 2},
                }
            },
        )
    )
