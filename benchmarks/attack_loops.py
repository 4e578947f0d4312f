"""What people run instead: one target after another, one record after another, in NumPy and SciPy.

Written the way the attacks' definitions read, with the target left out of its references; the
results must agree with ours.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def lira_online(logit: np.ndarray, member: np.ndarray, target: int) -> np.ndarray:
    """One target's LiRA scores [N], a variance per record; NaN with fewer than two references on a side.

    logit, member: [K, N].
    """
    others = np.arange(len(logit)) != target
    scores = np.full(logit.shape[1], np.nan)
    for n in range(logit.shape[1]):
        inside = logit[others & member[:, n], n]
        outside = logit[others & ~member[:, n], n]
        if min(inside.size, outside.size) < 2:
            continue
        scores[n] = stats.norm.logpdf(logit[target, n], inside.mean(), inside.std())
        scores[n] -= stats.norm.logpdf(logit[target, n], outside.mean(), outside.std())
    return scores


def rmia_online(
    log_prob: np.ndarray, member: np.ndarray, population_log_prob: np.ndarray, target: int
) -> np.ndarray:
    """One target's RMIA scores [N], gamma 1: every record against every population record."""
    others = np.arange(len(log_prob)) != target
    prob, population = np.exp(log_prob), np.exp(population_log_prob)
    ratio_z = population[target] / population[others].mean(axis=0)
    scores = np.empty(log_prob.shape[1])
    for n in range(log_prob.shape[1]):
        inside = prob[others & member[:, n], n].mean()
        outside = prob[others & ~member[:, n], n].mean()
        scores[n] = np.mean(prob[target, n] / (0.5 * (inside + outside)) / ratio_z >= 1.0)
    return scores
