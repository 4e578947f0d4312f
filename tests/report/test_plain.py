"""Values as JSON knows them."""

import json
import math

import numpy as np

from mia_jax.report.plain import plain


def test_numbers_that_json_lacks_become_words_and_digits_are_kept_as_asked() -> None:
    given = {
        1: (np.float32(0.5), np.int64(3)),
        "a": [math.inf, -math.inf, math.nan, None, True],
        "b": 0.123456,
    }
    found = plain(given)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == {"1": [0.5, 3], "a": ["inf", "-inf", None, None, True], "b": 0.123456}
    assert plain(given, 2)["b"] == 0.12
