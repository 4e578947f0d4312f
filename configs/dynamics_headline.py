"""One arm of configs/dynamics_images.py with four times the models: rates to within .044 in place of .088.

Shows: the same as configs/dynamics_images.py for a CNN on MNIST, with less noise in every record's place.
Command: python scripts/dynamics.py --config=configs/dynamics_headline.py --workdir=runs/dynamics_headline \
    --config.data.directory=PATH
Data: mnist.npz in PATH, as there.
Time: ten minutes on two CPU cores.
"""

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
    """256 CNNs, each trained on 500 of 1,000 images of 16 x 16 pixels."""
    return to_config_dict(
        Config(
            name="dynamics_headline",
            data=DataConfig(
                source="npz:mnist.npz", pool_size=1000, population_size=200, test_size=500, image_size=16
            ),
            membership=MembershipConfig(num_models=256, train_size=500),
            families={"cnn2": FamilyConfig(kind="cnn", hidden=8, layers=2)},
            training=TrainingConfig(epochs=40, batch_size=32, optimizer="momentum", learning_rate=0.05),
            recording=RecordingConfig(epochs=(0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 26, 32, 40), logits="none"),
            dynamics=DynamicsConfig(
                attack="lira_online", also_attacks=("lira_online_global", "loss"), show=0
            ),
            scales={
                "full": {"data": {"pool_size": 4000, "image_size": 0}, "membership": {"train_size": 2000}}
            },
        )
    )
