"""Many shadow models as one compiled program: chunks of models, mapped inside, devices outside.

The unit of work is a segment: one chunk of models from one checkpoint to the next. The host loops
over chunks and checkpoints and hands each finished segment on, so memory does not grow with the
number of checkpoints, and whoever writes the segments down loses at most one to an interruption.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mia_jax.config import TrainingConfig
from mia_jax.defences.base import PLAIN, Defence
from mia_jax.keys import Roots, per_model, roots
from mia_jax.models.base import Model
from mia_jax.models.checks import check_model
from mia_jax.parallel import MODELS, model_mesh, place
from mia_jax.training import memory
from mia_jax.training.feeding import BLOCK_BYTES, Feed, InBlocks, Parts, resident, to_host
from mia_jax.training.feeding_programs import block_programs_of
from mia_jax.training.hyper import Hyper, hyper_of, without_values
from mia_jax.training.observe import Probe, record_keys
from mia_jax.training.programs import Programs, programs_of
from mia_jax.training.programs import compile_programs as compile_programs
from mia_jax.training.segment import OneModel, Recipe, TrainState
from mia_jax.types import Array, Dataset, Key, Membership, Signals

CHUNK_ON_CPU = 16
"""Models of a unit on a CPU: enough to keep a few cores busy, few enough to lose little."""

TOGETHER_ELSEWHERE = 512
"""The most models side by side on one accelerator. Half as many saturate an H100: more gain nothing, and a unit
that is lost to an interruption costs more."""

BLOCK_SHARE = 1 / 16
"""Of a device's memory, the most that one block of records takes where they are fed in blocks."""


Feeding = Literal["auto", "resident", "blocks"]
"""How records reach the devices."""


class Plan(NamedTuple):
    """How K models are cut up. models_per_chunk: trained and written as one unit; models_together:
    mapped side by side on one device. feed: "resident" or "blocks", how records reach it, where the config
    leaves that open ("auto": by its memory). Only the last two may change rounding.
    """

    models_per_chunk: int
    models_together: int
    feed: Feeding = "auto"


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


def plan(training: TrainingConfig, num_models: int, mesh: Mesh, *, most: int = TOGETHER_ELSEWHERE) -> Plan:
    """The sizes that suit the devices, where the config leaves them open.

    On a CPU each core trains one model at a time, which stays in its cache; elsewhere, or where the config
    gives the memory, a chunk is mapped side by side, which fills the chip. most: models that may stand side by
    side on one device; how many fit is for `planned` to find.
    """
    one_by_one = _one_by_one(training, mesh)
    chunk = training.models_per_chunk
    if not chunk:
        # Chunks of even size, each a multiple of the devices: nothing is trained only to be thrown away.
        at_once = max(CHUNK_ON_CPU, mesh.size) if one_by_one else most * mesh.size
        even = -(-num_models // -(-num_models // at_once))
        chunk = min(-(-even // mesh.size) * mesh.size, num_models)
    together = training.models_together or (1 if one_by_one else min(-(-chunk // mesh.size), most))
    return Plan(min(chunk, num_models), min(together, chunk))


def _one_by_one(training: TrainingConfig, mesh: Mesh) -> bool:
    """Whether a device maps one model after another."""
    return mesh.devices.flat[0].platform == "cpu" and not training.memory_gib


class Fitted(NamedTuple):
    """A plan, and in words why it is this one; empty where nothing had to be found out."""

    plan: Plan
    why: str


def planned(
    model: Model,
    dataset: Dataset,
    membership: Membership,
    training: TrainingConfig,
    *,
    logits: bool = False,
    probes: Sequence[Probe] = (),
    hyper: Hyper | None = None,
    defence: Defence = PLAIN,
    in_place: bool = False,
    mesh: Mesh | None = None,
) -> Fitted:
    """The plan of `plan`, of as many models side by side as fit into the memory of a device.

    The programs of that plan are compiled and say themselves what they take (`mia_jax.training.memory`). How
    much there is, the config says (memory_gib) or the device; where neither does, or the config gives
    models_together, nothing is compiled. logits: whether any checkpoint keeps them. Other arguments as in
    `train_shadow_models`. Raises `ConfigError` where one model does not fit.
    """
    mesh = mesh or model_mesh()
    num_models = membership.member.shape[0]
    available = memory.device_memory(training, mesh)
    parts = (dataset.pool, dataset.population, dataset.test)
    stays = memory.stays_resident(training, parts, mesh)
    feed: Feeding = "resident" if stays else "blocks"
    first = plan(training, num_models, mesh)._replace(feed=feed)
    fed = "" if stays else f"; {memory.records_size(parts) / memory.GIB:.3g} GiB of records are fed in blocks"
    if training.models_together or available is None or _one_by_one(training, mesh):
        return Fitted(first, fed.removeprefix("; "))
    recipe = recipe_of(model, membership, training, defence)._replace(in_place=in_place)
    one = _models(roots(0), membership, hyper or hyper_of(training, num_models), np.arange(1))
    own_keys = jax.eval_shape(lambda: record_keys(jax.random.key(0), dataset.pool.size)) if probes else None

    def size_of(most: int) -> memory.Need | None:
        sizes = plan(training, num_models, mesh, most=most)
        programs = programs_of(recipe, mesh, sizes.models_together, tuple(probes))
        models = padded_size(sizes, min(sizes.models_per_chunk, num_models), mesh)
        shapes = memory.shapes_of(programs, one, models, parts, own_keys, mesh)
        if stays:
            size = memory.resident_size(programs, shapes, logits=logits)
        else:
            fed_so = _in_blocks(recipe, sizes, training, parts, own_keys, tuple(probes), mesh)
            size = memory.fed_size(fed_so, shapes, logits=logits)
        return None if size is None else memory.Need(sizes.models_together, size)

    found = memory.most_that_fit(size_of, available, first.models_together)
    sizes = plan(training, num_models, mesh, most=found.models)._replace(feed=feed)
    limit = "" if found.models < first.models_together else ", and more would gain nothing"
    said = (
        f"{sizes.models_together} models side by side on a device take {found.size / memory.GIB:.3g} of "
        f"{available / memory.GIB:.3g} GiB{limit}"
    )
    return Fitted(sizes, said + fed)


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
    # How the work is cut up is in no program: one that is kept serves any.
    config = dataclasses.replace(
        without_values(training), models_per_chunk=0, models_together=0, memory_gib=0.0, feed="auto"
    )
    return Recipe(model, config, size, sizes_vary=not full, defence=defence)


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
    rows = np.arange(membership.member.shape[0])
    return _models(keys, membership, hyper, rows, numbers)


def _models(
    keys: Roots,
    membership: Membership,
    hyper: Hyper,
    rows: np.ndarray,
    numbers: Sequence[int] | Array | None = None,
) -> OneModel:
    """What tells the models of these rows apart: nothing of the others is made."""
    models = rows if numbers is None else np.asarray(numbers)[rows]
    return OneModel(
        per_model(keys.init, models),
        per_model(keys.order, models),
        per_model(keys.dropout, models),
        jnp.asarray(membership.indices[rows]),
        jnp.asarray(membership.mask[rows]),
        jax.tree.map(lambda leaf: leaf[rows], hyper),
        noise_key=per_model(keys.noise, models),
        label_key=per_model(keys.label, models),
        release_key=per_model(keys.release, models),
    )


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
    `models_together`, the feed and the matmul precision may change rounding. Raises ValueError for arguments that
    do not fit together.
    """
    _check(dataset, membership, epochs, training.epochs, keys)
    check_model(model, jax.tree.map(lambda leaf: leaf[0], dataset.pool.x), dataset.num_classes)
    mesh = mesh or model_mesh()
    num_models = membership.member.shape[0]
    # On the host: what lies on a device must not grow with K.
    own_hyper: Hyper = jax.tree.map(np.array, hyper or hyper_of(training, num_models))
    _check_lengths(own_hyper, numbers, chunks, num_models)
    sizes = (
        sizes
        or planned(
            model,
            dataset,
            membership,
            training,
            logits=bool(logits_at),
            probes=probes,
            hyper=own_hyper,
            defence=defence,
            in_place=in_place,
            mesh=mesh,
        ).plan
    )
    if chunks is None:
        starts = range(0, num_models, sizes.models_per_chunk)
        chunks = [(start, min(start + sizes.models_per_chunk, num_models)) for start in starts]
    recipe = recipe_of(model, membership, training, defence)._replace(in_place=in_place)
    programs = programs_of(recipe, mesh, sizes.models_together, tuple(probes))
    parts = (dataset.pool, dataset.population, dataset.test)
    one_record = jax.tree.map(lambda leaf: leaf[0], parts[0].x)
    own_keys = record_keys(keys.attack, dataset.pool.size) if probes else None
    fed = training if training.feed != "auto" else dataclasses.replace(training, feed=sizes.feed)
    if memory.stays_resident(fed, parts, mesh):
        feed = resident(programs, parts, own_keys, mesh)
    else:
        feed = _in_blocks(recipe, sizes, training, parts, own_keys, tuple(probes), mesh)
    for start, stop in chunks:
        # A chunk that was begun may be larger than those that are cut now.
        size = padded_size(sizes, max(stop - start, min(sizes.models_per_chunk, num_models)), mesh)
        resumed = resume(start, stop)
        if resumed is None or resumed[0] < len(epochs) - 1:
            # The chunk's models on the devices, the last repeated until every device maps full groups.
            rows = np.minimum(np.arange(start, start + size), stop - 1)
            chunk = place(_models(keys, membership, own_hyper, rows, numbers), mesh, MODELS)
            begun = _begun(programs, chunk, one_record, epochs, resumed, mesh)
            yield from _train_chunk(feed, chunk, (start, stop), begun, epochs, logits_at)


class _Begun(NamedTuple):
    """Where a chunk goes on: the number of its last finished checkpoint, -1 for none, its epoch, the states."""

    done: int
    epoch: int
    states: TrainState


def _begun(
    programs: Programs,
    chunk: OneModel,
    one_record: Any,
    epochs: tuple[int, ...],
    resumed: tuple[int, Sequence[Array]] | None,
    mesh: Mesh,
) -> _Begun:
    """A chunk at its start, or where an earlier run left it."""
    if resumed is None:
        return _Begun(-1, 0, programs.initialise(chunk, one_record))
    done, leaves = resumed
    structure = jax.tree.structure(jax.eval_shape(programs.initialise, chunk, one_record))
    states = structure.unflatten([_repeat_last(leaf, chunk.mask.shape[0]) for leaf in leaves])
    return _Begun(done, epochs[done], place(states, mesh, MODELS))


def _train_chunk(
    feed: Feed,
    chunk: OneModel,
    models: tuple[int, int],
    begun: _Begun,
    epochs: tuple[int, ...],
    logits_at: tuple[int, ...],
) -> Iterator[Segment]:
    """The segments of one chunk that are still to do."""
    count = models[1] - models[0]
    done, epoch, states = begun
    for checkpoint in range(done + 1, len(epochs)):
        states = feed.advance(states, chunk, epoch, epochs[checkpoint])
        epoch = epochs[checkpoint]
        said = feed.look(states, chunk, epoch, count, logits=epoch in logits_at)
        pool, population, test = said.signals
        named: dict[str, Array] = dict(zip(("pool", "population"), said.logits, strict=False))
        observed = Observed(pool, population, test, said.seen, named, dict(said.probed))
        yield Segment(*models, checkpoint, epoch, observed, to_host(states, count))


def _check(dataset: Dataset, membership: Membership, epochs: Sequence[int], last: int, keys: Roots) -> None:
    """Refuse what cannot be trained on or with (ValueError)."""
    for part in ("pool", "population", "test"):
        if not getattr(dataset, part).size:
            raise ValueError(f"dataset.{part} has no records: it must have at least one.")
    if not isinstance(membership, Membership):
        raise ValueError(
            f"membership is a {type(membership).__name__}: it must be what membership.draw makes."
        )
    num_records = membership.member.shape[1]
    if num_records != dataset.pool.size:
        raise ValueError(
            f"membership.member is of {num_records} records: it must be of the {dataset.pool.size} of dataset.pool."
        )
    if not isinstance(keys, Roots):
        raise ValueError(f"keys is {keys!r}: it must be what keys.roots makes of a seed.")
    moments = np.asarray(epochs)
    if moments.ndim != 1 or not moments.size or moments[0] < 0 or (np.diff(moments) <= 0).any():
        raise ValueError(f"epochs is {epochs}: it must hold at least one epoch, and rise.")
    if moments[-1] > last:
        raise ValueError(f"epochs is {epochs}: its last must be at most training.epochs, {last}.")


def _check_lengths(
    hyper: Hyper,
    numbers: Sequence[int] | None,
    chunks: Sequence[tuple[int, int]] | None,
    num_models: int,
) -> None:
    """Refuse what is not there for every model, and chunks of models that are not there (ValueError)."""
    named = {**hyper._asdict(), **{f"strengths[{name!r}]": each for name, each in hyper.strengths.items()}}
    del named["strengths"]
    found = {f"hyper.{name}": np.shape(each) for name, each in named.items()}
    if numbers is not None:
        found["numbers"] = np.shape(numbers)
    for name, shape in found.items():
        if shape[:1] != (num_models,):
            raise ValueError(
                f"{name} has shape {shape}: it must have one entry for each of {num_models} models."
            )
    for chunk in chunks or ():
        if not 0 <= chunk[0] < chunk[1] <= num_models:
            raise ValueError(f"chunks holds {chunk}: it must be (start, stop) of the {num_models} models.")


def padded_size(sizes: Plan, count: int, mesh: Mesh) -> int:
    """`count` models of a chunk with what fills up the last groups, on all devices together.

    Groups of exactly `models_together` on every device are what makes results independent of the
    number of devices.
    """
    group = sizes.models_together * mesh.size
    return -(-count // group) * group


def _in_blocks(
    recipe: Recipe,
    sizes: Plan,
    training: TrainingConfig,
    parts: Parts,
    keys: Key | None,
    probes: tuple[Probe, ...],
    mesh: Mesh,
) -> InBlocks:
    """The records fed in blocks, each a small share of a device's memory."""
    programs = block_programs_of(recipe, mesh, sizes.models_together, parts[0].size, probes)
    available = memory.device_memory(training, mesh)
    block = BLOCK_BYTES if available is None else min(BLOCK_BYTES, int(BLOCK_SHARE * available))
    return InBlocks(programs, parts, keys, probes, mesh, block)


def _repeat_last(leaf: Array, size: int) -> Array:
    """The array with its last row repeated until its leading axis has `size` rows."""
    rows = np.minimum(np.arange(size), leaf.shape[0] - 1)
    return leaf[rows]
