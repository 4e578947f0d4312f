"""ReNet against a CNN of one size on CIFAR-10 at 16 x 16 pixels, both with a dense layer over the flat map.

Shows: whether recurrent sweeps over an image leak more than convolutions, where, as in the paper, nearly all
parameters are in the dense layer.
Command: python scripts/compare.py --config=configs/rnn_vs_ffnn/cifar10_renet_dense.py \
    --workdir=runs/rnn_vs_ffnn/cifar10_renet_dense \
    --config.data.directory=PATH
Data: cifar10.npz in PATH with x_train, y_train, x_test and y_test; it is no part of this project.
Time: about 7 minutes on two CPU cores. With --config.scale=full (whole images, 2,000 records, 256 models) it is
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
            name="rnn_vs_ffnn_cifar10_renet_dense",
            data=DataConfig(
                source="npz:cifar10.npz", pool_size=1000, population_size=500, test_size=2000, image_size=16
            ),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={
                "cnn": FamilyConfig(kind="cnn", layers=2, head="dense", head_width=256, match="renet"),
                "renet": FamilyConfig(
                    kind="renet",
                    hidden=24,
                    layers=2,
                    head="dense",
                    head_width=256,
                ),
            },
            training=TrainingConfig(epochs=20, optimizer="momentum", learning_rate=0.05),
            recording=RecordingConfig(epochs=(0, 1, 2, 3, 5, 7, 10, 13, 16, 20), logits="all"),
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
