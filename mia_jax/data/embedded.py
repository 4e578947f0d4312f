"""The set that comes with the package's own dependencies: no file, no network."""

from __future__ import annotations

import numpy as np

from mia_jax.config import DataConfig
from mia_jax.data.source import Source, holds_tokens, source_error, table

_CREDIT = (
    "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository (1998), doi:10.24432/C50P49, CC BY 4.0; its test set, as bundled with scikit-learn."
)


def digits(config: DataConfig, rest: str) -> Source:
    """scikit-learn's 1,797 handwritten digits: x float32 [N, 8, 8] in [0, 1], ten classes.

    A recurrent model reads an image as 8 steps of 8, an MLP flattens it. Raises `ConfigError` where
    something stands after the name.
    """
    if rest:
        raise source_error(config, '"digits" takes nothing after its name; write "digits"')
    import sklearn
    from sklearn.datasets import load_digits

    flat, labels = load_digits(return_X_y=True)
    images = np.asarray(flat, np.float32).reshape(-1, 8, 8) / 16  # grey levels are 0 to 16
    facts = {"credit": _CREDIT, "scikit_learn": sklearn.__version__}
    tokens = holds_tokens(config, natural=False)
    return Source(table(config, images, np.asarray(labels), tokens=tokens), None, tokens, 0, facts)
