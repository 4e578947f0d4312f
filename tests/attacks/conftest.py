"""Fixtures shared by the attack tests: an AUC that needs nothing of the package."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import rankdata


def _auc(score: np.ndarray, member: np.ndarray) -> float:
    """Mann-Whitney AUC by midranks (ties count one half); NaN scores are left out."""
    score, member = np.asarray(score, np.float64).ravel(), np.asarray(member).astype(bool).ravel()
    kept = ~np.isnan(score)
    score, member = score[kept], member[kept]
    inside = int(member.sum())
    outside = member.size - inside
    rank_sum = rankdata(score)[member].sum()
    return float((rank_sum - inside * (inside + 1) / 2) / (inside * outside))


@pytest.fixture
def auc_of() -> Callable[[np.ndarray, np.ndarray], float]:
    return _auc


@pytest.fixture
def mean_target_auc() -> Callable[[np.ndarray, np.ndarray], float]:
    """AUC of each target's row [N], averaged over targets that have members and non-members with a score."""

    def mean(score: np.ndarray, member: np.ndarray) -> float:
        aucs = []
        for row, inside in zip(np.asarray(score), np.asarray(member).astype(bool), strict=True):
            seen = inside[~np.isnan(row)]
            if seen.any() and not seen.all():
                aucs.append(_auc(row, inside))
        return float(np.mean(aucs))

    return mean
