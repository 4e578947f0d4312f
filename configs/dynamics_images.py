"""When, how fast and which records become exposed: three sets of images, four architectures, SGD and SAM.

Shows: every record on the FPR-TPR plane at 13 checkpoints, in 24 arms; what dataset, architecture and
optimizer change; whether hard records are the exposed ones; whether the exposed can be told early.
Command: python scripts/dynamics.py --config=configs/dynamics_images.py --workdir=runs/dynamics_images \
    --config.data.directory=PATH
Data: mnist.npz, fashion_mnist.npz and cifar10.npz in PATH, each with x_train, y_train, x_test and y_test; they
are no part of this project, and their images are not shown on the page.
Time: an MLP or an LSTM under a minute an arm on two CPU cores, twice that with SAM; the CNN of two layers
two minutes and four, that of four layers three and eight: about an hour in all. With
--config.scale=full (whole images, 2,000 records, 256 models, 100 epochs) it is made for accelerators.
"""

from typing import Any

from ml_collections import ConfigDict

from mia_jax.config import (
    Config,
    DataConfig,
    DynamicsConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """64 models an arm, each trained on 500 of 1,000 images of 16 x 16 pixels."""
    return to_config_dict(
        Config(
            name="dynamics_images",
            data=DataConfig(
                source="npz:mnist.npz", pool_size=1000, population_size=200, test_size=500, image_size=16
            ),
            membership=MembershipConfig(num_models=64, train_size=500),
            families={"net": FamilyConfig(kind="mlp", hidden=128)},
            training=TrainingConfig(epochs=40, batch_size=32, optimizer="momentum", learning_rate=0.05),
            recording=RecordingConfig(epochs=(0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 26, 32, 40), logits="none"),
            dynamics=DynamicsConfig(
                show=0,
                factors={
                    "data": {
                        "mnist": {"data": {"source": "npz:mnist.npz"}},
                        "fashion_mnist": {"data": {"source": "npz:fashion_mnist.npz"}},
                        "cifar10": {"data": {"source": "npz:cifar10.npz"}},
                    },
                    "architecture": {
                        "mlp": network(0.01, kind="mlp", hidden=128),
                        "lstm": network(0.1, kind="lstm", hidden=32),
                        "cnn2": network(0.05, kind="cnn", hidden=8, layers=2),
                        "cnn4": network(0.05, kind="cnn", hidden=8, layers=4),
                    },
                    "optimizer": {"sgd": {}, "sam": {"training": {"sam_radius": 0.05}}},
                },
            ),
            scales={
                "full": {
                    "data": {"pool_size": 4000, "population_size": 1000, "test_size": 2000, "image_size": 0},
                    "membership": {"num_models": 256, "train_size": 2000},
                    "training": {"epochs": 100, "batch_size": 64},
                    "recording": {"epochs": (0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 80, 100)},
                }
            },
        )
    )


def network(learning_rate: float, **family: Any) -> dict[str, Any]:
    """One architecture, with the learning rate that suits it."""
    return {"families": {"net": family}, "training": {"learning_rate": learning_rate}}
