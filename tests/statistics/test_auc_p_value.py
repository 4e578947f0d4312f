"""The p-value of an AUC of one half against the interval it belongs to."""

import numpy as np
import pytest

from mia_jax import metrics


@pytest.mark.parametrize("shift", [0.2, -0.2, 0.05])
def test_p_is_the_level_at_which_the_interval_touches_one_half(shift):
    rng = np.random.default_rng(0)
    member = rng.random((12, 30)) < 0.5
    scores = rng.normal(size=member.shape) + shift * member
    p = metrics.auc_p_value(scores, member)
    ends = metrics.auc_interval(scores, member, 1 - p)
    assert min(abs(end - 0.5) for end in ends) < 1e-9


def test_a_perfect_attack_is_as_sure_as_its_clusters_are_many():
    member = np.random.default_rng(0).random((6, 40)) < 0.5
    assert metrics.auc_p_value(member * 1.0, member) == pytest.approx(2 * 0.5**6)
    assert metrics.auc_p_value(np.zeros((6, 40)), member) == 1.0


def test_p_values_without_signal_are_as_rare_as_they_say():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        member = rng.random((16, 60)) < 0.5
        scores = rng.normal(size=60) + 0.5 * rng.normal(size=(16, 1)) + rng.normal(size=member.shape)
        found.append(metrics.auc_p_value(scores, member))
    share = np.mean(np.array(found) < 0.1)
    assert abs(share - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 300)
