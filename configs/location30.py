"""An MLP on Location-30, the classic tabular set of this field, with half of 2,000 records in each model.

Shows: LiRA and RMIA far above the loss threshold at low FPR (loss AUC about .9 with a TPR of about .02
at 1 % FPR; LiRA about .97 with about .5).
Command: python scripts/run.py --config=configs/location30.py --workdir=runs/location30 \
    --config.data.source=npz:PATH/location30.npz
Data: `x` uint8 [5010, 446] and `y` [5010] of Shokri et al. 2017 in one .npz; it is not part of this project.
Time: about a minute on two CPU cores.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """64 MLPs 446-128-30."""
    return to_config_dict(
        Config(
            name="location30",
            data=DataConfig(source="npz:location30.npz", pool_size=2000, population_size=2000),
            membership=MembershipConfig(num_models=64, train_size=1000),
            families={"mlp": FamilyConfig(kind="mlp", hidden=128)},
            training=TrainingConfig(epochs=50, batch_size=64, learning_rate=1e-3),
        )
    )
