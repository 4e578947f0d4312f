"""Without the records that were foretold to be most exposed: is the rest safer, or do others take their place?

Shows: exposure of digits in three arms of 64 LSTMs each: trained on 180 of all 400 records, on 180 of those that
early training did not foretell to be exposed, and on 180 of as many drawn by lot (the "onion effect",
Carlini et al. 2022, arXiv 2206.10469).
Command: python scripts/dynamics.py --config=configs/dynamics_digits.py --workdir=runs/dynamics_digits --predict
    python scripts/dynamics.py --config=configs/dynamics_onion.py --workdir=runs/dynamics_onion
Time: two minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    Config,
    DynamicsConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    to_config_dict,
)

LISTS = "runs/dynamics_digits/early_warning"


def get_config() -> ConfigDict:
    """64 LSTMs an arm, each trained on 180 records; other models than those that made the list."""
    return to_config_dict(
        Config(
            name="dynamics_onion",
            seed=1,
            membership=MembershipConfig(num_models=64, train_size=180),
            families={"lstm": FamilyConfig(kind="lstm", hidden=32)},
            recording=RecordingConfig(epochs=(0, 1, 2, 3, 5, 8, 12, 18, 24, 32, 45, 60), logits="none"),
            dynamics=DynamicsConfig(
                factors={
                    "without": {
                        "nobody": {},
                        "foretold": {"membership": {"without": f"{LISTS}/lstm.json"}},
                        "by_lot": {"membership": {"without": f"{LISTS}/lstm_by_lot.json"}},
                    }
                },
            ),
        )
    )
