"""Many small learners trained as one compiled program, for attacks that learn: fit, and ask.

The training is the one of shadow models (`training.segment`); the axis of learners, F, lies over the
devices. Programs are kept by what decides their shapes, so that an attack that comes again at the
next checkpoint compiles nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mia_jax.keys import per_model
from mia_jax.models.base import Model
from mia_jax.parallel import MODELS, WHOLE, model_mesh, over_models, place
from mia_jax.training.hyper import hyper_of
from mia_jax.training.segment import OneModel, Recipe, TrainState, advance, initialise
from mia_jax.types import Array, Key, Params, Records

ROWS_AT_ONCE = 1024
"""Rows that one learner is asked about side by side; bounds the memory of asking."""

TOGETHER_ELSEWHERE = 64
"""Learners mapped side by side on an accelerator; on a CPU each core takes one at a time."""

NUMBERS_AT_ONCE = 2**24
"""Numbers that are laid out for learners at a time; bounds the memory beside the signals."""

PROGRAMS = 64
"""Compiled programs that are kept."""


class Lessons(NamedTuple):
    """What F learners are trained on.

    x: rows [M, ...] that all share, or [F, M, ...] with own_x. y: [M], or [F, M] with own_y. indices:
    int32 [F, n], each learner's rows. mask: bool [F, n], False where `indices` is padding. held_out:
    int32 [F, h], rows by which each learner's best epoch is chosen; None: the last one is taken.
    """

    x: Array
    y: Array
    indices: Array
    mask: Array
    held_out: Array | None = None
    own_x: bool = False
    own_y: bool = False


def fit(recipe: Recipe, lessons: Lessons, key: Key, *, mesh: Mesh | None = None) -> Params:
    """Train F learners; their parameters, NumPy arrays with leading axis F.

    recipe: its train_size is n. key: learner f's first weights, orders and dropout depend on it and on
    f alone. With held_out rows, the parameters are those of the epoch with the smallest mean loss on
    them, the first weights among the candidates. The number of devices changes no bit.
    """
    mesh = mesh or model_mesh()
    count = lessons.indices.shape[0]
    together, size = _groups(count, mesh)
    init, order, dropout = (per_model(one, np.arange(size)) for one in jax.random.split(key, 3))
    parted = {"x": (lessons.x, lessons.own_x), "y": (lessons.y, lessons.own_y)}
    of_each = (
        np.asarray(lessons.indices, np.int32),
        np.asarray(lessons.mask, bool),
        None if lessons.held_out is None else np.asarray(lessons.held_out, np.int32),
        {name: rows for name, (rows, own) in parted.items() if own},
    )
    indices, mask, held_out, rows = jax.tree.map(lambda leaf: _repeat_last(leaf, size), of_each)
    ones = OneModel(init, order, dropout, indices, mask, hyper_of(recipe.config, size))
    shared = {name: rows for name, (rows, own) in parted.items() if not own}
    each = place((ones, held_out, rows), mesh, MODELS)
    params = _fitting(recipe, mesh, together)(each, place(shared, mesh, WHOLE))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], params)


def ask(
    model: Model, params: Params, learner: Array, x: Array, *, own_x: bool = False, mesh: Mesh | None = None
) -> np.ndarray:
    """What learners say of rows, float32 [G, M, outputs]: question g goes to learner[g].

    params: [F, ...]. learner: int [G] in [0, F). x: rows [M, ...] for all, or [G, M, ...] with own_x.
    """
    mesh = mesh or model_mesh()
    count = np.shape(learner)[0]
    together, size = _groups(count, mesh)
    asked = (np.asarray(learner, np.int32), x if own_x else None)
    each = place(jax.tree.map(lambda leaf: _repeat_last(leaf, size), asked), mesh, MODELS)
    shared = place((params, None if own_x else x), mesh, WHOLE)
    return np.asarray(_asking(model, mesh, together)(each, shared))[:count]


def parts(count: int, each: int) -> Iterator[slice]:
    """`count` things of `each` numbers in parts that memory allows, as even as can be."""
    number = min(count, max(1, -(-count * each // NUMBERS_AT_ONCE)))
    for part in range(number):
        yield slice(count * part // number, count * (part + 1) // number)


@functools.lru_cache(maxsize=PROGRAMS)
def _fitting(recipe: Recipe, mesh: Mesh, together: int) -> Callable[..., Params]:
    """The compiled training of learners, `together` of them side by side."""

    def one_learner(one: OneModel, held_out: Array | None, rows: dict[str, Array]) -> Params:
        pool = Records(rows["x"], rows["y"])
        state = initialise(recipe, pool.x[0], one)
        if held_out is not None:
            return _best(recipe, state, one, pool, held_out)
        return advance(recipe, state, one, pool, jnp.int32(0), jnp.int32(recipe.config.epochs)).params

    def all_learners(each: Any, shared: dict[str, Array]) -> Params:
        return _mapped(lambda one, held_out, own: one_learner(one, held_out, own | shared), each, together)

    return over_models(all_learners, mesh, (MODELS, WHOLE))


@functools.lru_cache(maxsize=PROGRAMS)
def _asking(model: Model, mesh: Mesh, together: int) -> Callable[..., Array]:
    """The compiled asking of learners, `together` of them side by side."""

    def one_question(learner: Array, params: Params, rows: Array) -> Array:
        say = functools.partial(model.apply, jax.tree.map(lambda leaf: leaf[learner], params))
        if rows.shape[0] <= ROWS_AT_ONCE:
            return jax.vmap(say)(rows)
        return jax.lax.map(say, rows, batch_size=ROWS_AT_ONCE)

    def all_questions(each: Any, shared: Any) -> Array:
        params, rows = shared
        return _mapped(
            lambda learner, own: one_question(learner, params, rows if own is None else own), each, together
        )

    return over_models(all_questions, mesh, (MODELS, WHOLE))


def _best(recipe: Recipe, state: TrainState, one: OneModel, pool: Records, held_out: Array) -> Params:
    """Train one learner to the end; its parameters after the epoch that did best on rows held out [h]."""
    x, y = pool.x[held_out], pool.y[held_out]

    def loss(params: Params) -> Array:
        return jnp.mean(jax.vmap(lambda x, y: recipe.loss(recipe.model.apply(params, x), y))(x, y))

    def epoch(number: Array, before: tuple[TrainState, Params, Array]) -> tuple[TrainState, Params, Array]:
        state, best, least = before
        state = advance(recipe, state, one, pool, number, number + 1)
        now = loss(state.params)
        best = jax.tree.map(lambda a, b: jnp.where(now < least, a, b), state.params, best)
        return state, best, jnp.fmin(now, least)

    start = (state, state.params, loss(state.params))
    return jax.lax.fori_loop(0, recipe.config.epochs, epoch, start)[1]


def _mapped(function: Callable[..., Any], each: Any, together: int) -> Any:
    """`function` of every learner's own part, in full float32: the networks are too small to gain by less."""
    with jax.default_matmul_precision("highest"):
        return jax.lax.map(lambda part: function(*part), each, batch_size=together if together > 1 else None)


def _groups(count: int, mesh: Mesh) -> tuple[int, int]:
    """Learners mapped side by side, and all of them with what fills up the last groups.

    The first must not depend on the number of devices, or results would.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    together = 1 if on_cpu else min(count, TOGETHER_ELSEWHERE)
    group = together * mesh.size
    return together, -(-count // group) * group


def _repeat_last(leaf: Array, size: int) -> Array:
    """The array with its last row repeated until its leading axis has `size` rows."""
    missing = size - leaf.shape[0]
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf
