"""What follows from the arrays of a file: signals from logits, one signal from another, norms.

What is given and can be derived as well must agree: a person who mixed up two arrays must hear it.
The derived one is then kept, as logits tell apart what log-probabilities round to the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mia_jax.signals_file import agreement, checks, formulas
from mia_jax.signals_file.arrays import Arrays
from mia_jax.types import Signals

PAIR = ("log_prob", "scaled_logit")
"""The signals of which each follows from the other."""


def of_pool(arrays: Arrays, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Signals of the pool and of queries, by their names in `Observations`. labels: int [N].

    Where nothing else is said of the records themselves, the first query says it. Raises
    `ConfigError`.
    """
    query_logits, query_given = arrays.maybe("query_logits"), arrays.take_all(PAIR, "query_")
    query_labels = None if labels is None else labels[:, None]
    query = _signals(arrays, "query_", query_logits, query_labels, query_given, PAIR)
    logits, given = arrays.maybe("logits"), arrays.take_all(Signals._fields)
    alone = logits is None and not set(PAIR) & set(given)
    if alone and query_logits is not None:
        logits, arrays.derived["logits"] = query_logits[:, :, 0].copy(), "query_logits, the first query"
    elif alone and query:
        given |= {name: values[:, :, 0].copy() for name, values in query.items()}
        arrays.derived |= dict.fromkeys(query, "the first query")
    del query_logits
    said = _signals(arrays, "", logits, labels, given, Signals._fields)
    if query and not alone:
        agreement.check_first_query(query["scaled_logit"], said["scaled_logit"], arrays.usable)
    if logits is not None:
        said["logits"] = logits
    return said | {f"query_{name}": values for name, values in query.items()}


def of_population(
    arrays: Arrays, labels: np.ndarray | None
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Signals of the population by their names in `Observations`, and correctness [K, Z] if logits say it.

    labels: int [Z]. Raises `ConfigError`.
    """
    logits, given = arrays.maybe("population_logits"), arrays.take_all(PAIR, "population_")
    said = _signals(arrays, "population_", logits, labels, given, (*PAIR, "correct"))
    correct = said.pop("correct", None)
    return {f"population_{name}": values for name, values in said.items()}, correct


def of_embedding(arrays: Arrays, p: float) -> dict[str, np.ndarray]:
    """embedding_norm [K, N], of embeddings [K, N, E] where they are there. Raises `ConfigError`."""
    given, vectors = arrays.take_all(("embedding_norm",)), arrays.maybe("embedding")
    if vectors is None:
        return given
    norm = np.full(vectors.shape[:2], np.nan)
    for model in np.flatnonzero(arrays.usable):
        norm[model] = formulas.vector_norm(vectors[model], p)
    source = f"embedding with embedding_p = {p:g}"
    if given:
        agreement.check_agrees("embedding_norm", given["embedding_norm"], norm, arrays.usable, source)
    arrays.derived["embedding_norm"] = source
    return {"embedding_norm": norm}


def flat_features(arrays: Arrays) -> dict[str, np.ndarray]:
    """The records themselves, one row of D numbers each. Raises `ConfigError`."""
    found = arrays.take_all(("features", "population_features"))
    return {name: values.reshape(len(values), -1) for name, values in found.items()}


def _signals(
    arrays: Arrays,
    prefix: str,
    logits: np.ndarray | None,
    labels: np.ndarray | None,
    given: Mapping[str, np.ndarray],
    fields: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """The signals `fields` of one kind of records, from logits or completed from what is given."""
    if logits is None:
        return _completed_pair(arrays, prefix, given)
    assert labels is not None  # the layout asks for them
    said = formulas.of_models(logits, labels, arrays.usable, fields)
    source = f"{prefix}logits with {'population_' if prefix == 'population_' else ''}labels"
    header = arrays.headers.get(f"{prefix}logits")
    rough = header is not None and header.dtype.itemsize <= 2
    for name, values in given.items():
        if name == "correct":
            agreement.check_correct(values, logits, labels, said[name], arrays.usable)
            continue
        tolerance = agreement.AGREE_FLOAT16 if rough else agreement.AGREE
        agreement.check_agrees(prefix + name, values, said[name], arrays.usable, source, tolerance)
    arrays.derived |= {prefix + name: source for name in said if not (prefix and name == "correct")}
    return said


def _completed_pair(arrays: Arrays, prefix: str, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """log_prob from scaled_logit or the other way round, beside what else is given."""
    log_prob, margin = (given.get(name) for name in PAIR)
    if margin is not None:
        derived = formulas.log_prob_of(margin)
        if log_prob is not None:
            source = f"{prefix}scaled_logit"
            agreement.check_agrees(f"{prefix}log_prob", log_prob, derived, arrays.usable, source)
            return dict(given)
        arrays.derived[f"{prefix}log_prob"] = f"{prefix}scaled_logit"
        return {**given, "log_prob": derived}
    if log_prob is None:
        return dict(given)
    checks.check_below_zero(f"{prefix}log_prob", log_prob, arrays.usable)
    # Models that are not usable may say anything: NaN is what is made of it.
    usable = arrays.usable.reshape(-1, *(1,) * (log_prob.ndim - 1))
    derived = np.where(usable, formulas.scaled_logit_of(np.where(usable, log_prob, -1.0)), np.nan)
    arrays.derived[f"{prefix}scaled_logit"] = f"{prefix}log_prob"
    return {**given, "scaled_logit": derived}
