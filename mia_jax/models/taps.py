"""Taps: a forward pass with its pre-activations laid open, and what entered each weight.

The gradient of a weight is the product of what entered it and the gradient of its pre-activation.
A model that shows both gives the norm of each record's gradient without the gradient itself
(Goodfellow 2015, arXiv:1510.01799; Bu et al. 2023, arXiv:2210.00038).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from mia_jax.types import Array

Path = tuple[str | int, ...]
"""The keys that lead to one parameter in a model's pytree, such as ("head", "kernel")."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """One pre-activation z = a_1 W_1 + a_2 W_2 + … + b, of one record or, with a leading axis, of B.

    inputs: the a_i, each [in_i], or [L, in_i] where the weights serve L steps. kernels: the paths of
    the W_i [in_i, out]. shape: z's own, [out] or [L, out]. bias: b's path; b is added to the columns
    of z from bias_start on.
    """

    inputs: tuple[Array, ...]
    kernels: tuple[Path, ...]
    shape: tuple[int, ...]
    bias: Path | None = None
    bias_start: int = 0

    @property
    def leaves(self) -> tuple[Path, ...]:
        """The parameters whose gradients this tap gives."""
        return self.kernels if self.bias is None else (*self.kernels, self.bias)


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Rows of a table, z = table[ids], of one record or, with a leading axis, of B.

    ids: int [...], each in [0, V). table: the path of the table [V, E]. shape: z's own, [..., E].
    """

    ids: Array
    table: Path
    shape: tuple[int, ...]

    @property
    def leaves(self) -> tuple[Path, ...]:
        """The parameter whose gradient this tap gives."""
        return (self.table,)


@dataclasses.dataclass(frozen=True)
class Scale:
    """A scale and a bias for every channel, z = a * s + b, of one record or, with a leading axis, of B.

    entered: a, of z's shape. scale, bias: the paths of s and b [Ch]. shape: z's own, [Ch] or [..., Ch].
    """

    entered: Array
    scale: Path
    bias: Path
    shape: tuple[int, ...]

    @property
    def leaves(self) -> tuple[Path, ...]:
        """The parameters whose gradients this tap gives."""
        return (self.scale, self.bias)


Tap = Dense | Lookup | Scale

jax.tree_util.register_dataclass(Dense, ["inputs"], ["kernels", "shape", "bias", "bias_start"])
jax.tree_util.register_dataclass(Lookup, ["ids"], ["table", "shape"])
jax.tree_util.register_dataclass(Scale, ["entered"], ["scale", "bias", "shape"])


class Recorder:
    """Adds given shifts to the pre-activations of one forward pass, and notes what entered them.

    shifts: {name: array of the pre-activation's shape}; None leaves them as they are. What is noted
    stands in `taps`, {name: Tap}. A parameter may serve one pre-activation only: the same name twice
    raises ValueError.
    """

    def __init__(self, shifts: dict[str, Array] | None) -> None:
        """Start with nothing noted."""
        self.shifts = shifts
        self.taps: dict[str, Tap] = {}

    def dense(
        self,
        name: str,
        z: Array,
        inputs: dict[Path, Array],
        *,
        bias: Path | None = None,
    ) -> Array:
        """Note z = sum of a W over `inputs` {path of W: a} (+ bias), and return it shifted."""
        arrays = tuple(jnp.asarray(a, z.dtype) for a in inputs.values())
        return self._add(name, z, Dense(arrays, tuple(inputs), z.shape, bias))

    def lookup(self, name: str, z: Array, table: Path, ids: Array) -> Array:
        """Note z = table[ids], and return it shifted."""
        return self._add(name, z, Lookup(ids, table, z.shape))

    def scale(self, name: str, z: Array, a: Array, scale: Path, bias: Path) -> Array:
        """Note z = a * scale + bias along the last axis, and return it shifted."""
        return self._add(name, z, Scale(jnp.asarray(a, z.dtype), scale, bias, z.shape))

    def shift(self, name: str, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """The shift of a pre-activation that is only made inside a loop; zeros where none is given.

        The caller adds it, and notes the tap with `note`.
        """
        return jnp.zeros(shape, dtype) if self.shifts is None else self.shifts[name]

    def note(self, name: str, tap: Tap) -> None:
        """Note a tap whose shift the caller has added."""
        if name in self.taps:
            raise ValueError(
                f"the tap {name!r} is noted twice: a layer may be used once in a forward pass, "
                'or its gradient norms need method="vmap".'
            )
        self.taps[name] = tap

    def _add(self, name: str, z: Array, tap: Tap) -> Array:
        """Note a tap and add its shift."""
        self.note(name, tap)
        return z if self.shifts is None else z + self.shifts[name]
