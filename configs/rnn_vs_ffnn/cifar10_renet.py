"""ReNet against a CNN of one size on CIFAR-10 at 16 x 16 pixels, both with a mean over the map as their head.

Shows: whether recurrent sweeps over an image leak more than convolutions; nearly all of their parameters are in the
sweeps and convolutions.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/cifar10_renet.py \
    --workdir=runs/rnn_vs_ffnn/cifar10_renet \
    --config.data.directory=PATH
Data: cifar10.npz in PATH with x_train, y_train, x_test and y_test; it is no part of this project.
Time: about 9 minutes on two CPU cores. With --config.scale=full (whole images, 2,000 records, 256 models) it is
made for accelerators.
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
    """64 models a family, each trained on 500 of 1,000 images."""
    return to_config_dict(
        Config(
            name="rnn_vs_ffnn_cifar10_renet",
            data=DataConfig(
                source="npz:cifar10.npz", pool_size=1000, population_size=500, test_size=2000, image_size=16
            ),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "cnn": FamilyConfig(kind="cnn", layers=2, head="pooled", match="renet"),
                "renet": FamilyConfig(
                    kind="renet",
                    hidden=28,
                    layers=1,
                    head="pooled",
                ),
            },
            training=TrainingConfig(epochs=40, optimizer="momentum", learning_rate=0.1),
            recording=RecordingConfig(epochs=(0, 1, 2, 4, 7, 11, 16, 22, 30, 40), logits="all"),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            comparison=ComparisonConfig(reference="cnn"),
            scales={
                "full": {
                    "data": {"pool_size": 4000, "population_size": 2000, "image_size": 0},
                    "membership": {"num_models": 256, "train_size": 2000},
                    "comparison": {"pools": 3},
                }
            },
        )
    )
