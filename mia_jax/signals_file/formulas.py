"""The signals of `mia_jax.signals` in NumPy float64, for what comes in a person's file.

JAX computes in float32 here; what was saved in float64 keeps its margins this way. Files of many
gigabytes are gone through in blocks, so that beside the logits themselves little is held.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mia_jax.types import Array, Signals

BLOCK = 2**15
"""How many logits are worked on at once: what is computed on the way then stays in a core's cache."""


def from_logits(logits: Array, y: Array) -> Signals:
    """The five signals of records with finite logits [..., C] and labels int [...]: float64 [...] each.

    The formulas are those of `mia_jax.signals.from_logits`; Song & Mittal 2021, equation 7, for
    the modified entropy.
    """
    z, label = _class_first(logits, y)
    top, rows = z.argmax(axis=0), np.arange(label.size)
    margin, margin_of_top = _margin(z, label), _margin(z, top)
    log_prob = log_prob_of(margin)
    log_p = z - (z[top, rows] - log_prob_of(margin_of_top))
    p = np.exp(log_p)
    entropy = -np.sum(p * log_p, axis=0)
    # Only the largest probability can round to 1: its complement comes from its own margin.
    log_rest = p.copy()
    log_rest[top, rows] = 0.0
    np.log1p(np.negative(log_rest, out=log_rest), out=log_rest)
    log_rest[top, rows] = log_prob_of(-margin_of_top)
    p[label, rows] = 0.0
    said = Signals(
        log_prob=log_prob,
        scaled_logit=margin,
        entropy=entropy,
        modified_entropy=-np.exp(log_prob_of(-margin)) * log_prob - np.sum(p * log_rest, axis=0),
        correct=(top == label).astype(np.float64),
    )
    return Signals(*(field.reshape(np.shape(y)) for field in said))


def _class_first(logits: Array, y: Array) -> tuple[np.ndarray, np.ndarray]:
    """Logits float64 [C, B] and labels [B]: NumPy reduces a long last axis many times faster than a short one."""
    z = np.asarray(logits)
    return np.ascontiguousarray(z.reshape(-1, z.shape[-1]).T, np.float64), np.asarray(y).reshape(-1)


def _margin(z: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The margin of the chosen class. z: [C, B]; chosen: int [B]; returns [B]."""
    others, rows = z.copy(), np.arange(chosen.size)
    others[chosen, rows] = -np.inf
    peak = others.max(axis=0)
    others -= peak
    return z[chosen, rows] - (peak + np.log(np.exp(others, out=others).sum(axis=0)))


def of_models(
    logits: Array, y: Array, usable: np.ndarray, fields: Collection[str] = Signals._fields
) -> dict[str, np.ndarray]:
    """Some of the signals of K models, a block at a time: float64 [K, ...] by name.

    logits: [K, ..., C]. y: int, of a shape that broadcasts to what is between. usable: bool [K];
    the others get NaN.
    """
    logits = np.asarray(logits)
    said = {name: np.full(logits.shape[:-1], np.nan) for name in fields}
    labels = np.broadcast_to(y, logits.shape[1:-1]).reshape(-1)
    step = max(1, BLOCK // logits.shape[-1])
    for model in np.flatnonzero(usable):
        rows = logits[model].reshape(labels.size, -1)
        for start in range(0, labels.size, step):
            block = slice(start, start + step)
            found = from_logits(rows[block], labels[block])._asdict()
            for name, values in said.items():
                values[model].reshape(-1)[block] = found[name]
    return said


def log_prob_of(margin: Array) -> np.ndarray:
    """log p = -softplus(-phi) of scaled logits phi of any shape, float64."""
    return -np.logaddexp(0.0, -np.asarray(margin, np.float64))


def scaled_logit_of(log_prob: Array) -> np.ndarray:
    """phi = log p - log(1 - p) of log-probabilities below 0, of any shape: float64."""
    log_p = np.asarray(log_prob, np.float64)
    # Each form where it loses nothing: Maechler 2012, "Accurately computing log(1 - exp(-|a|))".
    likely = log_p > -np.log(2.0)
    complement = np.log(-np.expm1(np.where(likely, log_p, -1.0)))
    return log_p - np.where(likely, complement, np.log1p(-np.exp(np.where(likely, -1.0, log_p))))


def vector_norm(vectors: Array, p: float) -> np.ndarray:
    """The p-norm over the last axis, p from 1 to infinity: float64. vectors: [..., E]."""
    size = np.abs(np.asarray(vectors, np.float64))
    peak = size.max(axis=-1)
    if np.isinf(p):
        return peak
    # In units of the largest entry no power of an entry overflows, nor do all vanish.
    size /= np.where(peak > 0, peak, 1.0)[..., None]
    return peak * np.sum(size**p, axis=-1) ** (1.0 / p)
