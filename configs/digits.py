"""An LSTM and an MLP of the same size on scikit-learn's digits: the default study.

Shows: how exposed training records are to seven attacks, family against family.
Command: python scripts/run.py --config=configs/digits.py --workdir=runs/digits
Time: under a minute on two CPU cores.
"""

from ml_collections import ConfigDict

from mia_jax.config import Config, to_config_dict


def get_config() -> ConfigDict:
    """The defaults of `mia_jax.config.Config` are this study."""
    return to_config_dict(Config())
