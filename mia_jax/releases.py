"""Noise on trained parameters, many times over: what the noisy models say, and what attacks learn of it.

Every model is trained once; a release is theta + N(0, sigma^2 I). The random numbers of model k's release r
depend on the key, k and r alone and are common to all sigmas, which only scale them: a curve over sigma is
smooth, and more models, draws or devices change nothing that was there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mia_jax import attacks, audit, keys, membership, models, summary
from mia_jax.attacks import Attack, Observations
from mia_jax.config import TrainingConfig
from mia_jax.data.features import features
from mia_jax.defences.parameter_noise import parameter_noise
from mia_jax.defences.parameters import selected
from mia_jax.models import Model
from mia_jax.parallel import MODELS, WHOLE, model_mesh, over_models, place
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.statistics.contrasts import Measured, mean_of, measured_auc, measured_mean
from mia_jax.study import observing
from mia_jax.study.scoring import scores_of
from mia_jax.training import Plan, plan
from mia_jax.training.observe import observe
from mia_jax.training.precision import in_precision
from mia_jax.types import Array, Dataset, Key, Params, Records, Signals
from mia_jax.validation import check_whole

RELEASES = 0x72656C73
"""What is folded into a study's root: no draw is one that its defences drew."""

_OF_RECORDS = frozenset({"labels", "features", "population_features"})
_OF_MODELS = frozenset({*Signals._fields, "logits", "population_log_prob", "population_scaled_logit"})


class Released(NamedTuple):
    """What R releases of each of K models say at one sigma; arrays are NumPy's outside the program.

    pool: Signals [K, R, N]. population: Signals [K, R, Z]. test: Signals [K, R, …]. logits: of the pool,
    [K, R, N, C], where asked for, else None.
    """

    pool: Signals
    population: Signals
    test: Signals
    logits: Array | None = None


def evaluate(
    model: Model,
    params: Params,
    dataset: Dataset,
    sigmas: Sequence[float],
    *,
    num_draws: int,
    key: Key,
    parameters: str = "",
    logits: bool = False,
    mesh: Mesh | None = None,
    sizes: Plan | None = None,
    matmul_precision: str = "default",
) -> Iterator[Released]:
    """What R = num_draws noisy releases of every model say, one sigma after the other.

    params: NumPy pytree [K, …]. sigmas: standard deviations. key: release r of model k draws from
    fold_in(fold_in(key, k), r), whatever sigma is. parameters: noise goes where this regular expression is
    found in the path. logits: whether those of the pool are kept. sizes: how models are cut up, as in
    training; None: as suits the devices. models_together and matmul_precision may change rounding.

    All models, draws and sigmas are one compiled program. At sigma 0 the signals are those of `params` as
    `train_shadow_models` observes them, bit for bit if both map as many models together. Raises ValueError
    for a sigma that is negative or not finite, for fewer than 1 draw, and for a pattern found in no path.
    """
    _check(sigmas, num_draws)
    selected(params, parameters)
    mesh = mesh or model_mesh()
    num_models = len(jax.tree.leaves(params)[0])
    sizes = sizes or plan(TrainingConfig(), num_models, mesh)
    program = _program(model, num_draws, parameters, logits, mesh, sizes.models_together, matmul_precision)
    records = jax.tree.map(jnp.asarray, (dataset.pool, dataset.population, dataset.test))
    parts = place(records, mesh, WHOLE)
    ones = params, keys.per_model(key, np.arange(num_models))

    def of_chunk(sigma: float, rows: np.ndarray, count: int) -> Released:
        chunk = place(jax.tree.map(lambda leaf: leaf[rows], ones), mesh, MODELS)
        said = program(*chunk, parts, np.float32(sigma))
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], said)

    def at(sigma: float) -> Released:
        blocks = [of_chunk(sigma, *chunk) for chunk in _chunks(num_models, sizes, mesh)]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *blocks)

    return map(at, sigmas)


def release_rows(
    run: RunDirectory,
    family: str,
    model: Model,
    dataset: Dataset,
    sigmas: Sequence[float],
    num_draws: int,
    delta: float,
    *,
    parameters: str = "",
    seed: int | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """What utility and attacks are when a finished run's final models are released with noise.

    Target and references are all noisy: who attacks a noisy model trains models for it in the same way.
    Each of the R = num_draws draws is attacked by itself with the config's attacks, as in a run; a row of
    "utility" or "results" is one of `mia_jax.summary`, with sigma and draws, every estimate and end of an
    interval the mean over draws (None where a draw has none; the fewest models and targets, the most
    missing). Draws share the trained models. The mean of the ends keeps the width of one draw's interval,
    and the mean's standard error is at most the mean of the draws' own: too wide perhaps, never too narrow.
    "audits": the bounds that the canaries prove at `delta`, from the first draw only: an audit takes one
    release of every model. "skipped": the config's attacks that need what a release does not give. "measured": by
    sigma, the mean over draws of every attack's AUC and, as "", of the accuracy on the pool's non-members, with the
    influence of every entry.

    A model is left out where the training left it out or a draw is not finite: a large loss is what noise is for.
    seed: of the noise; None: the study's. Raises `RunError` for a run without its final parameters and for
    other data, ValueError as `evaluate` does.
    """
    world = _world(run, family, dataset)
    mesh = mesh or model_mesh()
    shapes = jax.eval_shape(model.init, jax.random.key(0), models.one_record(dataset))
    root = keys.roots(run.config.seed if seed is None else seed).release
    released = evaluate(
        model,
        run.segments(family).parameters(world.setting.checkpoint, shapes),
        dataset,
        sigmas,
        num_draws=num_draws,
        key=jax.random.fold_in(root, RELEASES),
        parameters=parameters,
        logits=any("logits" in one.needs for one in world.selection.attacks),
        mesh=mesh,
        sizes=plan(run.config.training, run.config.membership.num_models, mesh),
        matmul_precision=run.config.training.matmul_precision,
    )
    rows: dict[str, Any] = {"utility": [], "results": [], "audits": [], "skipped": world.selection.lacking}
    rows["measured"] = {}
    for sigma, said in zip(sigmas, released, strict=True):
        where = {"family": family, "sigma": float(sigma), "draws": num_draws}
        draws = [_draw(world, said, number) for number in range(num_draws)]
        rows["utility"].append(where | _over_draws([_utility_row(world, draw) for draw in draws]))
        measured = {"": mean_of([_accuracy(world, draw) for draw in draws])}
        for one in world.selection.attacks:
            found = [_attacked(world, draw, one) for draw in draws]
            rows["results"].append(where | _over_draws([row for row, _ in found]))
            if all(auc is not None for _, auc in found):
                measured[one.name] = mean_of([auc for _, auc in found if auc is not None])
        rows["measured"][float(sigma)] = measured
        rows["audits"] += [{**where, "draws": 1, **row} for row in _audit_rows(world, draws[0], delta)]
    return rows


class _World(NamedTuple):
    """What all draws of a run's family share. member: bool [K, N + M], canaries last. usable: bool [K], by
    the training. told: what attackers hold beside the signals. num_parameters: of a model.
    """

    run: RunDirectory
    setting: summary.Setting
    selection: attacks.Selection
    member: np.ndarray
    twin: Array
    usable: np.ndarray
    told: Observations
    num_parameters: int


class _Draw(NamedTuple):
    """One release of every model: its signals [K, …], canaries last, and who is usable, bool [K]."""

    said: Released
    usable: np.ndarray


def _world(run: RunDirectory, family: str, dataset: Dataset) -> _World:
    """What a run and its data tell before any release (`RunError` for other data)."""
    if dataset.facts.get("fingerprint") != run.fingerprint:
        raise RunError(f"{run.path} was trained on other data: load the data of its own config.")
    drawn, ours = run.membership(), observing.columns(run.config, "pool")
    selection = attacks.select(run.config.attacks, _OF_RECORDS | _OF_MODELS)
    checkpoint, member = len(run.epochs) - 1, np.asarray(drawn.member)
    told = Observations(
        member[:, ours], exclude=membership.exclusions(drawn), key=keys.roots(run.config.seed).attack
    )
    fields: dict[str, Any] = {"labels": np.asarray(dataset.pool.y)[ours]}
    if any("features" in one.needs for one in selection.attacks):
        fields["features"] = features(dataset.pool, dataset.vocabulary_size)[ours]
        fields["population_features"] = features(dataset.population, dataset.vocabulary_size)
    return _World(
        run,
        summary.Setting(family, checkpoint, run.epochs[checkpoint]),
        selection,
        member,
        drawn.twin,
        observing.usable_models(run, family, checkpoint),
        told._replace(**fields),
        run.num_parameters(family),
    )


def _draw(world: _World, released: Released, number: int) -> _Draw:
    """One draw of all models; canaries have no say in which are usable."""
    said = jax.tree.map(lambda leaf: leaf[:, number], released)
    ours = observing.columns(world.run.config, "pool")
    signals = [*(leaf[:, ours] for leaf in said.pool), *said.population]
    finite = np.all([np.isfinite(leaf).all(axis=1) for leaf in signals], axis=0)
    return _Draw(said, world.usable & finite)


def _utility_row(world: _World, draw: _Draw) -> dict[str, Any]:
    """Accuracies of one draw."""
    ours = observing.columns(world.run.config, "pool")
    return summary.utility_row(
        world.setting,
        draw.said.pool.correct[:, ours],
        world.member[:, ours],
        draw.said.test.correct,
        draw.usable,
        num_parameters=world.num_parameters,
        confidence=world.run.config.report.confidence,
    )


def _accuracy(world: _World, draw: _Draw) -> Measured:
    """The accuracy of one draw on the pool's non-members."""
    ours = observing.columns(world.run.config, "pool")
    return measured_mean(draw.said.pool.correct[:, ours], ~world.member[:, ours] & draw.usable[:, None])


def _attacked(world: _World, draw: _Draw, attack: Attack) -> tuple[dict[str, Any], Measured | None]:
    """What one attack learns of one draw: its row, and its AUC where there is one."""
    ours, said = observing.columns(world.run.config, "pool"), draw.said
    seen = world.told._replace(
        **{name: leaf[:, ours] for name, leaf in said.pool._asdict().items()},
        valid=draw.usable,
        logits=None if said.logits is None else said.logits[:, ours],
        population_log_prob=said.population.log_prob,
        population_scaled_logit=said.population.scaled_logit,
    )
    scores = scores_of(attack, seen, observing.never_members(world.run))
    row = summary.attack_row(
        world.setting, attack.name, scores, seen.member, world.twin, world.run.config.report
    )
    return row, None if row["auc"] is None else measured_auc(scores, seen.member)


def _audit_rows(world: _World, draw: _Draw, delta: float) -> list[dict[str, Any]]:
    """What the canaries of one draw prove; nothing without canaries."""
    config, theirs = world.run.config, observing.columns(world.run.config, "canaries")
    return audit.audit_rows(
        draw.said.pool.scaled_logit[:, theirs],
        world.member[:, theirs],
        delta=delta,
        guesses=config.audit.guesses,
        confidence=config.report.confidence,
        valid=draw.usable,
        twin=world.twin,
    )


def _over_draws(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row for several draws."""
    return {name: _combined(name, [row[name] for row in rows]) for name in rows[0]}


def _combined(name: str, values: list[Any]) -> Any:
    """A column's value over draws: the mean of estimates, the worst of counts, and what is the same in all."""
    if name in ("models", "targets"):
        return min(values)
    if name == "missing":
        return max(values)
    if any(value is None for value in values):
        return None
    return math.fsum(values) / len(values) if isinstance(values[0], float) else values[0]


def _check(sigmas: Sequence[float], num_draws: int) -> None:
    """Raise ValueError for noise that cannot be."""
    if np.ndim(sigmas) != 1:
        raise ValueError(f"sigmas is {sigmas}: it must be a sequence of numbers.")
    for sigma in sigmas:
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigmas holds {sigma}: each must be finite and at least 0.")
    check_whole("num_draws", num_draws, 1)


def _program(
    model: Model,
    num_draws: int,
    parameters: str,
    logits: bool,
    mesh: Mesh,
    models_together: int,
    matmul_precision: str,
) -> Callable[..., Released]:
    """The compiled program (params [M, …], keys [M], parts, sigma) -> `Released` of a chunk."""
    release = parameter_noise(parameters).release
    assert release is not None

    def one_draw(params: Params, key: Key, parts: tuple[Records, ...], sigma: Array) -> Released:
        noisy = release(key, params, {"sigma": sigma})
        # Not fused into the model: it must round as it does on parameters that were only trained.
        noisy = jax.lax.optimization_barrier(noisy)
        pool, kept = observe(model, noisy, parts[0], logits=logits)
        population, test = (observe(model, noisy, part, logits=False)[0] for part in parts[1:])
        return Released(pool, population, test, kept)

    def chunk(params: Params, own: Key, parts: tuple[Records, ...], sigma: Array) -> Released:
        def one_model(args: tuple[Params, Key]) -> Released:
            params, key = args
            draws = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(num_draws))
            return jax.lax.map(lambda key: one_draw(params, key, parts, sigma), draws)

        def each(args: tuple[Params, Key]) -> Released:
            return jax.lax.map(one_model, args, batch_size=models_together if models_together > 1 else None)

        return in_precision(each, matmul_precision, mesh.devices.flat[0].platform)((params, own))

    return over_models(chunk, mesh, (MODELS, MODELS, WHOLE, WHOLE))


def _chunks(num_models: int, sizes: Plan, mesh: Mesh) -> Iterator[tuple[np.ndarray, int]]:
    """The models of every chunk, the last repeated until all devices map full groups, and how many count."""
    size, group = min(sizes.models_per_chunk, num_models), sizes.models_together * mesh.size
    padded = -(-size // group) * group
    for start in range(0, num_models, size):
        stop = min(start + size, num_models)
        yield np.minimum(start + np.arange(padded), stop - 1), stop - start
