"""Every one of 400 digits followed through the training of 64 LSTMs and 64 MLPs of the same size.

Shows: the cloud of records on the FPR-TPR plane at 12 checkpoints, how fast they become exposed, that the
hard ones are the exposed ones, and how early they can be told.
Command: python scripts/dynamics.py --config=configs/dynamics_digits.py --workdir=runs/dynamics_digits
Time: about a minute on two CPU cores, the page included.
"""

from ml_collections import ConfigDict

from mia_jax.config import Config, MembershipConfig, RecordingConfig, to_config_dict


def get_config() -> ConfigDict:
    """64 models a family, each trained on 200 of 400 records."""
    return to_config_dict(
        Config(
            name="dynamics_digits",
            membership=MembershipConfig(num_models=64),
            recording=RecordingConfig(epochs=(0, 1, 2, 3, 5, 8, 12, 18, 24, 32, 45, 60), logits="none"),
        )
    )
