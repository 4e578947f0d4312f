"""Recurrent and feed-forward networks of one size on the digits, as targets of four attacks, over three pools.

Shows: whether an RNN, an LSTM or a GRU is more exposed than an MLP of as many parameters, epoch by epoch, and where
they are equally overfitted or equally good; how that changes with the size of the training set; whether records
that a model has seen early are forgotten.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/digits.py --workdir=runs/rnn_vs_ffnn/digits
Time: about 10 minutes on two CPU cores; scikit-learn's digits, 8 steps of 8 pixels.
With --config.scale=full it is made for accelerators: 256 models a family and pool.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    AttacksConfig,
    ComparisonConfig,
    Config,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """64 models a family and pool, each trained on 200 of 400 records."""
    return to_config_dict(
        Config(
            name="rnn_vs_ffnn_digits",
            membership=MembershipConfig(num_models=64, train_size=200),
            families={
                "mlp": FamilyConfig(kind="mlp", layers=2, match="lstm"),
                "rnn": FamilyConfig(kind="rnn", match="lstm"),
                "lstm": FamilyConfig(kind="lstm", hidden=37),
                "gru": FamilyConfig(kind="gru", match="lstm"),
            },
            training=TrainingConfig(epochs=60),
            recording=RecordingConfig(epochs=(0, 2, 4, 7, 12, 20, 30, 40, 50, 60), logits="all"),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            comparison=ComparisonConfig(
                pools=3,
                variants={
                    "n50": {"data": {"pool_size": 100}, "membership": {"train_size": 50}},
                    "n100": {"data": {"pool_size": 200}, "membership": {"train_size": 100}},
                    "fixed_order": {"training": {"order": "fixed"}},
                },
            ),
            scales={"full": {"membership": {"num_models": 256}}},
        )
    )
