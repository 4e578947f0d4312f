"""How far one record moves trained parameters: sampled by training on neighbouring data sets, side by side.

The largest of m sampled distances stands in for a sensitivity that nobody can prove. Noise on the
parameters then gives *random* differential privacy (Rubinstein & Alda 2017): it holds for all but a share
gamma of the neighbouring pairs that the same law draws, and says nothing of the worst pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.defences.base import PLAIN, Defence
from mia_jax.defences.parameters import selected
from mia_jax.models.base import Model
from mia_jax.parallel import model_mesh
from mia_jax.privacy.gaussian import analytic_gaussian_epsilon, nominal_gaussian_epsilon, random_dp_gamma
from mia_jax.training.hyper import NO_STRENGTHS, hyper_of
from mia_jax.training.shadow import Plan, plan, train_shadow_models
from mia_jax.types import Array, Dataset, Key, Membership, Params
from mia_jax.validation import check_number, check_whole

Relation = Literal["remove", "replace"]

RELATIONS: dict[Relation, str] = {"remove": "add-or-remove", "replace": "replace-one"}
"""How neighbours differ, as audits and reports call it."""

SENSITIVITY = 0x73656E73
"""What is folded into every root: no sampled pair shares a random number with a study's own models."""


class Sensitivity(NamedTuple):
    """The sampled distances between the parameters of neighbours. distances: float64 [m], infinite where
    a training diverged. relation: "remove" or "replace".
    """

    distances: np.ndarray
    relation: Relation

    @property
    def num_draws(self) -> int:
        """The number m of pairs."""
        return len(self.distances)

    @property
    def maximum(self) -> float:
        """The largest distance."""
        return float(np.max(self.distances))

    @property
    def gamma(self) -> float:
        """The share of pairs for which the largest distance may be too small (`random_dp_gamma`)."""
        return random_dp_gamma(self.num_draws)


def sample_sensitivity(
    model: Model,
    dataset: Dataset,
    training: TrainingConfig,
    train_size: int,
    *,
    num_draws: int = 50,
    relation: Relation = "remove",
    seed: int = 0,
    defence: Defence = PLAIN,
    strengths: Mapping[str, ArrayLike] = NO_STRENGTHS,
    parameters: str = "",
    mesh: Mesh | None = None,
) -> Sensitivity:
    """Train m = num_draws pairs of neighbours and measure how far apart the parameters of each pair end.

    Every draw takes train_size = n records of the pool, canaries left out, uniformly without replacement,
    one of them uniformly, and random keys of its own, and depends on the seed and its number alone, so that m
    can grow. Its neighbour lacks that record ("remove": its place in the batches stays empty), or has another
    record of the pool, not among the n, in its place ("replace"). Both have the same initialisation, order,
    dropout and noise, and are trained as shadow models are, with `defence` and its `strengths`.

    A distance is the L2 norm over all parameters together whose path the regular expression `parameters` is
    found in, in float64, after training and before the defence's release. A pair of which a parameter is not
    finite has an infinite distance: to leave it out would make the maximum too small.

    The maximum is no bound: noise for it gives random differential privacy, which fails for a share gamma of
    the pairs that this same law draws from this pool, with these keys; a record that is unlike the pool's can
    move a model further. Rubinstein & Alda 2017 (ICML), section 4.
    Raises ValueError for fewer than 1 draw, another relation, and an n that the pool cannot give.
    """
    _check(dataset, train_size, num_draws, relation)
    record = jax.tree.map(lambda leaf: leaf[0], dataset.pool.x)
    selected(jax.eval_shape(model.init, jax.random.key(0), record), parameters)
    mesh = mesh or model_mesh()
    roots = keys.Roots(*(jax.random.fold_in(root, SENSITIVITY) for root in keys.roots(seed)))
    pool_size = dataset.pool.size - dataset.num_canaries
    indices, place = _draw(roots.membership, pool_size, train_size, num_draws, relation)
    segments = train_shadow_models(
        model,
        _for_training(dataset, pool_size),
        _neighbours(indices, place, pool_size, train_size, relation),
        training,
        (training.epochs,),
        roots,
        hyper=hyper_of(training, 2 * num_draws, strengths),
        defence=defence,
        in_place=True,
        numbers=[draw for draw in range(num_draws) for _ in range(2)],
        sizes=_whole_pairs(plan(training, 2 * num_draws, mesh)),
        mesh=mesh,
    )
    found = [_distances(segment.state.params, parameters) for segment in segments]
    return Sensitivity(np.concatenate(found), relation)


def release_epsilons(sensitivity: Sensitivity, sigma: float, delta: float) -> list[dict[str, Any]]:
    """What parameters + N(0, sigma^2 I) promise at delta in (0, 1): the nominal and the analytic epsilon.

    A row has kind, relation, epsilon, delta, gamma, sensitivity, samples and meaning. Both are infinite
    without noise and where a sampled pair diverged. Raises ValueError for another sigma or delta.
    """
    formulas = {"nominal": nominal_gaussian_epsilon, "analytic": analytic_gaussian_epsilon}
    bounded = math.isfinite(sensitivity.maximum)
    moved = sensitivity.maximum if bounded else 0.0
    found = {kind: formula(moved, sigma, delta) for kind, formula in formulas.items()}
    return [
        {
            "kind": kind,
            "relation": RELATIONS[sensitivity.relation],
            "epsilon": epsilon if bounded else math.inf,
            "delta": float(delta),
            "gamma": sensitivity.gamma,
            "sensitivity": sensitivity.maximum,
            "samples": sensitivity.num_draws,
            "meaning": _meaning(kind, sensitivity),
        }
        for kind, epsilon in found.items()
    ]


def to_mapping(sensitivity: Sensitivity) -> dict[str, Any]:
    """A sampled sensitivity for JSON: `from_mapping` reads it. A distance that is infinite is null."""
    shown = [float(distance) if np.isfinite(distance) else None for distance in sensitivity.distances]
    return {"relation": sensitivity.relation, "distances": shown}


def from_mapping(mapping: Mapping[str, Any]) -> Sensitivity:
    """The sensitivity that `to_mapping` wrote."""
    distances = [math.inf if distance is None else distance for distance in mapping["distances"]]
    return Sensitivity(np.asarray(distances, np.float64), mapping["relation"])


def _meaning(kind: str, sensitivity: Sensitivity) -> str:
    """One sentence on an epsilon, for readers."""
    how = {
        "nominal": "The classical formula, a guarantee only up to epsilon 1",
        "analytic": "The exact epsilon of the Gaussian mechanism",
    }[kind]
    return (
        f"{how}, with the largest of {sensitivity.num_draws} sampled distances between neighbours as its sensitivity: "
        f"random differential privacy, for all but a share {sensitivity.gamma:.2g} of the pairs, not for the worst."
    )


def _check(dataset: Dataset, train_size: int, num_draws: int, relation: str) -> None:
    """Raise ValueError for draws that cannot be."""
    if relation not in RELATIONS:
        raise ValueError(f"relation is {relation!r}: it must be one of {', '.join(map(repr, RELATIONS))}.")
    check_whole("num_draws", num_draws, 1)
    most = dataset.pool.size - dataset.num_canaries - (relation == "replace")
    fitting = f"lie in [1, {most}] for this pool and relation {relation!r}"
    check_number("train_size", train_size, lambda size: 1 <= size <= most, fitting)


def _draw(
    root: Key, pool_size: int, train_size: int, num_draws: int, relation: Relation
) -> tuple[np.ndarray, np.ndarray]:
    """The records of every draw, int32 [m, n], or [m, n + 1] with the one that comes in; and who leaves, int [m]."""
    kept = train_size + (relation == "replace")

    def one(key: Key) -> tuple[Array, Array]:
        for_records, for_place = jax.random.split(key)
        records = jax.random.permutation(for_records, pool_size)[:kept]
        return records.astype(jnp.int32), jax.random.randint(for_place, (), 0, train_size)

    indices, place = jax.lax.map(one, keys.per_model(root, np.arange(num_draws)))
    return np.asarray(indices), np.asarray(place)


def _neighbours(
    indices: np.ndarray, place: np.ndarray, pool_size: int, train_size: int, relation: Relation
) -> Membership:
    """The membership of 2m models, a draw's data set and its neighbour one after the other."""
    draws = np.arange(len(indices))
    lists = np.repeat(indices[:, None, :train_size], 2, axis=1)
    mask = np.ones(lists.shape, bool)
    if relation == "remove":
        mask[draws, 1, place] = False
    else:
        lists[draws, 1, place] = indices[:, -1]
    lists, mask = (values.reshape(-1, train_size) for values in (lists, mask))
    member = np.zeros((len(lists), pool_size), bool)
    models, places = np.nonzero(mask)
    member[models, lists[models, places]] = True
    return Membership(member, lists, mask, np.full(len(lists), -1, np.int32))


def _for_training(dataset: Dataset, pool_size: int) -> Dataset:
    """The pool without canaries; of what is only looked at, one record."""

    def first(records: Any, size: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[:size], records)

    return dataset._replace(
        pool=first(dataset.pool, pool_size),
        population=first(dataset.population, 1),
        test=first(dataset.test, 1),
        num_canaries=0,
    )


def _whole_pairs(sizes: Plan) -> Plan:
    """The plan with no pair cut in two."""
    return sizes._replace(models_per_chunk=sizes.models_per_chunk + sizes.models_per_chunk % 2)


def _distances(params: Params, parameters: str) -> np.ndarray:
    """The distances of the pairs of a chunk: float64 [M / 2]. params: NumPy [M, …]."""
    return np.sqrt(sum(_squares(params, parameters)))


def _squares(params: Params, parameters: str) -> Iterator[np.ndarray]:
    """The squared distances [M / 2], leaf by leaf; infinite for a pair of which any leaf is not finite."""
    for leaf, counts in zip(jax.tree.leaves(params), selected(params, parameters), strict=True):
        values = np.asarray(leaf, np.float64).reshape(len(leaf), -1)
        with np.errstate(invalid="ignore"):  # of inf - inf, which is not finite either
            squares = np.sum((values[0::2] - values[1::2]) ** 2, axis=1)
        yield np.where(np.isfinite(squares), squares if counts else 0.0, np.inf)
