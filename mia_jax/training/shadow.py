"""Many shadow models as one compiled program: chunks of models, mapped inside, devices outside.

The unit of work is a segment: one chunk of models from one checkpoint to the next. The host loops
over chunks and checkpoints and hands each finished segment on, so memory does not grow with the
number of checkpoints, and whoever writes the segments down loses at most one to an interruption.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mia_jax.config import TrainingConfig
from mia_jax.defences.base import PLAIN, Defence
from mia_jax.keys import Roots, per_model
from mia_jax.models.base import Model
from mia_jax.parallel import MODELS, WHOLE, model_mesh, over_models, place
from mia_jax.training.hyper import Hyper, hyper_of, without_values
from mia_jax.training.observe import Probe, observe, probe, record_keys
from mia_jax.training.segment import (
    OneModel,
    Recipe,
    TrainState,
    advance,
    initialise,
    last_seen,
    released,
)
from mia_jax.types import Array, Dataset, Inputs, Key, Membership, Records, Signals

CHUNK_ON_CPU = 16
"""Models of a unit on a CPU: enough to keep a few cores busy, few enough to lose little."""

CHUNK_ELSEWHERE = 512
"""Models of a unit on an accelerator, mapped side by side: enough to fill a large GPU."""


PROGRAMS = 32
"""Compiled programs that are kept."""


class Plan(NamedTuple):
    """How K models are cut up. models_per_chunk: trained and written as one unit; models_together:
    mapped side by side on one device. Only the second may change rounding.
    """

    models_per_chunk: int
    models_together: int


class Observed(NamedTuple):
    """What a chunk of M models says at one checkpoint; every array NumPy.

    pool: Signals [M, N]. population: Signals [M, Z]. test: Signals [M, …]. last_seen: int32 [M, N],
    the step a record was last trained on, -1 for never. logits: {"pool": [M, N, C], "population":
    [M, Z, C]} where asked for, else empty. probed: what the probes measured of the pool, by name,
    [M, N, …].
    """

    pool: Signals
    population: Signals
    test: Signals
    last_seen: Array
    logits: dict[str, Array]
    probed: dict[str, Array]


class Segment(NamedTuple):
    """A finished segment: models start…stop-1 at checkpoint number `checkpoint`, after `epoch`."""

    start: int
    stop: int
    checkpoint: int
    epoch: int
    observed: Observed
    state: TrainState


Resume = Callable[[int, int], tuple[int, Sequence[Array]] | None]
"""(start, stop) of a chunk -> its last finished checkpoint's number and the leaves of its state, or None."""


def plan(training: TrainingConfig, num_models: int, mesh: Mesh) -> Plan:
    """The sizes that suit the devices, where the config leaves them open.

    On a CPU each core trains one model at a time, which stays in its cache; elsewhere a chunk is
    mapped side by side, which fills the chip.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    chunk = training.models_per_chunk
    if not chunk:
        # Chunks of even size, each a multiple of the devices: nothing is trained only to be thrown away.
        most = max(CHUNK_ON_CPU if on_cpu else CHUNK_ELSEWHERE, mesh.size)
        even = -(-num_models // -(-num_models // most))
        chunk = min(-(-even // mesh.size) * mesh.size, num_models)
    together = training.models_together or (1 if on_cpu else -(-chunk // mesh.size))
    return Plan(min(chunk, num_models), min(together, chunk))


def recipe_of(
    model: Model, membership: Membership, training: TrainingConfig, defence: Defence = PLAIN
) -> Recipe:
    """What all models of one family share."""
    full = bool(np.asarray(membership.mask).all())
    size = membership.indices.shape[1]
    _check_batches(defence, size, training)
    if defence.gradient is not None and training.sam_radius:
        raise ValueError(
            f"sam_radius is {training.sam_radius} beside {' and '.join(defence.names)}: a private gradient is "
            "accounted for once a step, and SAM takes two; leave it at 0."
        )
    return Recipe(model, without_values(training), size, sizes_vary=not full, defence=defence)


def _check_batches(defence: Defence, train_size: int, training: TrainingConfig) -> None:
    """Refuse a private gradient whose batches, and so whose accounting, are of another training (ValueError)."""
    if defence.gradient is None:
        return
    batches = defence.gradient.batches
    if (batches.num_examples, batches.expected) != (train_size, training.batch_size):
        raise ValueError(
            f"the defence's batches are {batches.expected} of {batches.num_examples} records: the training has batches "
            f"of {training.batch_size} of {train_size} places; make them with defences.batches_of for these."
        )


def all_models(
    keys: Roots, membership: Membership, hyper: Hyper, numbers: Sequence[int] | Array | None = None
) -> OneModel:
    """What tells the models apart, with leading axis K. numbers: int [K], whose keys each has; None: its own."""
    models = np.arange(membership.member.shape[0]) if numbers is None else np.asarray(numbers)
    return OneModel(
        per_model(keys.init, models),
        per_model(keys.order, models),
        per_model(keys.dropout, models),
        jnp.asarray(membership.indices),
        jnp.asarray(membership.mask),
        hyper,
        noise_key=per_model(keys.noise, models),
        label_key=per_model(keys.label, models),
        release_key=per_model(keys.release, models),
    )


class Programs(NamedTuple):
    """The compiled programs of one family, each over the models of a chunk."""

    initialise: Callable[..., TrainState]
    advance: Callable[..., TrainState]
    observe: Callable[..., Any]
    observe_logits: Callable[..., Any]


def programs_of(recipe: Recipe, mesh: Mesh, models_together: int, probes: tuple[Probe, ...] = ()) -> Programs:
    """The programs of `compile_programs`, those of an equal recipe again: a sweep compiles once."""
    try:
        hash((recipe, probes))
    except TypeError:  # of a person's own model
        return compile_programs(recipe, mesh, models_together, probes)
    return _kept_programs(recipe, mesh, models_together, probes)


def compile_programs(
    recipe: Recipe, mesh: Mesh, models_together: int, probes: Sequence[Probe] = ()
) -> Programs:
    """Jit the per-model functions, mapped over a chunk and spread over the mesh's devices.

    Compilation happens at the first call; its time does not depend on the number of models. Without
    probes there is nothing of them in any program.
    """

    def mapped(function: Callable[..., Any], *per_model_args: Any) -> Any:
        # A plain loop where one model is mapped at a time: batching by one costs on CPU.
        batch_size = models_together if models_together > 1 else None
        precision = recipe.config.matmul_precision
        with jax.default_matmul_precision(None if precision == "default" else precision):
            return jax.lax.map(lambda args: function(*args), per_model_args, batch_size=batch_size)

    def init(ones: OneModel, x: Inputs) -> TrainState:
        return mapped(lambda one: initialise(recipe, x, one), ones)

    def move(states: TrainState, ones: OneModel, pool: Records, start: Array, stop: Array) -> TrainState:
        return mapped(lambda state, one: advance(recipe, state, one, pool, start, stop), states, ones)

    def look(
        states: TrainState,
        ones: OneModel,
        parts: tuple[Records, ...],
        epoch: Array,
        keys: Key | None,
        *,
        logits: bool,
    ) -> tuple[tuple[Signals, ...], Array, tuple[Array, ...], dict[str, Array]]:
        wanted = [one for one in probes if logits or not one.with_logits]

        def one_model(state: TrainState, one: OneModel) -> Any:
            seen = last_seen(recipe, one, parts[0].y.shape[0], epoch, state.seen)
            params = released(recipe, state.params, one, epoch)
            said = tuple(observe(recipe.model, params, part, logits=logits) for part in parts)
            kept = tuple(z for _, z in said[:2] if z is not None)
            return tuple(s for s, _ in said), seen, kept, probe(wanted, params, parts[0], keys)

        return mapped(one_model, states, ones)

    look_specs = (MODELS, MODELS, WHOLE, WHOLE, WHOLE)
    return Programs(
        over_models(init, mesh, (MODELS, WHOLE)),
        over_models(move, mesh, (MODELS, MODELS, WHOLE, WHOLE, WHOLE), donate=(0,)),
        over_models(lambda *args: look(*args, logits=False), mesh, look_specs),
        over_models(lambda *args: look(*args, logits=True), mesh, look_specs),
    )


_kept_programs = functools.lru_cache(maxsize=PROGRAMS)(compile_programs)


def train_shadow_models(
    model: Model,
    dataset: Dataset,
    membership: Membership,
    training: TrainingConfig,
    epochs: tuple[int, ...],
    keys: Roots,
    *,
    logits_at: tuple[int, ...] = (),
    probes: Sequence[Probe] = (),
    hyper: Hyper | None = None,
    defence: Defence = PLAIN,
    in_place: bool = False,
    numbers: Sequence[int] | None = None,
    sizes: Plan | None = None,
    chunks: Sequence[tuple[int, int]] | None = None,
    resume: Resume = lambda start, stop: None,
    mesh: Mesh | None = None,
) -> Iterator[Segment]:
    """Train K models and yield every finished segment, chunk by chunk.

    epochs: the checkpoints, rising. logits_at: those of them at which full logits are kept. probes:
    what else to record of the pool, by `mia_jax.probes` or of your own. hyper: values per model, [K]
    each, and the defence's strengths; None takes the config's, and no strengths. defence: what all
    models are protected by. in_place: a place of `indices` that is masked stays empty, and no other
    record moves. numbers: int [K], the model whose random keys each has; None: its own. chunks: (start,
    stop) of the models to train as one unit; None cuts all K as `sizes` says. resume: what an earlier run
    finished.

    The same keys give the same arrays bit for bit for any devices, chunks and interruptions;
    `models_together` and the matmul precision may change rounding.
    """
    for part in ("pool", "population", "test"):
        if not getattr(dataset, part).size:
            raise ValueError(f"dataset.{part} has no records: every part needs at least one.")
    mesh = mesh or model_mesh()
    num_models = membership.member.shape[0]
    sizes = sizes or plan(training, num_models, mesh)
    if chunks is None:
        starts = range(0, num_models, sizes.models_per_chunk)
        chunks = [(start, min(start + sizes.models_per_chunk, num_models)) for start in starts]
    recipe = recipe_of(model, membership, training, defence)._replace(in_place=in_place)
    ones = all_models(keys, membership, hyper or hyper_of(training, num_models), numbers)
    programs = programs_of(recipe, mesh, sizes.models_together, tuple(probes))
    parts = place(_as_jax((dataset.pool, dataset.population, dataset.test)), mesh, WHOLE)
    own_keys = place(record_keys(keys.attack, dataset.pool.size), mesh, WHOLE) if probes else None
    for models in chunks:
        resumed = resume(*models)
        if resumed is None or resumed[0] < len(epochs) - 1:
            chunk = _padded_chunk(ones, *models, sizes, mesh)
            yield from _train_chunk(
                programs, parts, own_keys, chunk, models, epochs, logits_at, resumed, mesh
            )


def _train_chunk(
    programs: Programs,
    parts: tuple[Records, ...],
    own_keys: Key | None,
    chunk: OneModel,
    models: tuple[int, int],
    epochs: tuple[int, ...],
    logits_at: tuple[int, ...],
    resumed: tuple[int, Sequence[Array]] | None,
    mesh: Mesh,
) -> Iterator[Segment]:
    """The segments of one chunk that are still to do."""
    count = models[1] - models[0]
    padded = chunk.mask.shape[0]
    one_record = jax.tree.map(lambda leaf: leaf[0], parts[0].x)
    if resumed is None:
        done, epoch = -1, 0
        state = programs.initialise(chunk, one_record)
    else:
        done, epoch = resumed[0], epochs[resumed[0]]
        structure = jax.tree.structure(jax.eval_shape(programs.initialise, chunk, one_record))
        state = place(structure.unflatten([_repeat_last(leaf, padded) for leaf in resumed[1]]), mesh, MODELS)
    for checkpoint in range(done + 1, len(epochs)):
        state = programs.advance(state, chunk, parts[0], np.int32(epoch), np.int32(epochs[checkpoint]))
        epoch = epochs[checkpoint]
        look = programs.observe_logits if epoch in logits_at else programs.observe
        said = look(state, chunk, parts, np.int32(epoch), own_keys)
        said, kept = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], (said, state))
        (pool, population, test), seen, logits, probed = said
        named = dict(zip(("pool", "population"), logits, strict=False))
        observed = Observed(pool, population, test, seen, named, probed)
        yield Segment(*models, checkpoint, epoch, observed, kept)


def _padded_chunk(ones: OneModel, start: int, stop: int, sizes: Plan, mesh: Mesh) -> OneModel:
    """The chunk's models on the devices, the last repeated until every device maps full groups.

    Groups of exactly `models_together` on every device are what makes results independent of the
    number of devices.
    """
    group = sizes.models_together * mesh.size
    padded = -(-min(sizes.models_per_chunk, ones.mask.shape[0]) // group) * group
    chunk = jax.tree.map(lambda leaf: _repeat_last(leaf[start:stop], padded), ones)
    return place(chunk, mesh, MODELS)


def _repeat_last(leaf: Array, size: int) -> Array:
    """The array with its last row repeated until its leading axis has `size` rows."""
    rows = np.minimum(np.arange(size), leaf.shape[0] - 1)
    return leaf[rows]


def _as_jax(parts: tuple[Records, ...]) -> tuple[Records, ...]:
    """The same records as arrays that JAX can hold."""
    return jax.tree.map(jnp.asarray, parts)
