"""How exactly matrix products are computed: the names of the config, and what they are on every device.

================  =======================  =====================  ==========================
name              GPU                      TPU                    CPU
================  =======================  =====================  ==========================
default           TensorFloat-32           bfloat16               float32
high              TensorFloat-32           three bfloat16s        float32
highest           float32                  float32                float32
bfloat16          bfloat16                 bfloat16               float32 of rounded factors
tensorfloat32     TensorFloat-32           three bfloat16s        float32 of rounded factors
================  =======================  =====================  ==========================

Inputs, parameters and sums are float32 under each of them; what is rounded are the factors of a product
alone. A product that asks for a precision of its own keeps it: a private gradient's norms and sums are
full float32 always (`mia_jax.privacy.bookkeeping`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxpr_as_fun
from jax.extend.core.primitives import conv_general_dilated_p, dot_general_p

ALGORITHMS = {
    "bfloat16": jax.lax.DotAlgorithmPreset.BF16_BF16_F32,
    "tensorfloat32": jax.lax.DotAlgorithmPreset.TF32_TF32_F32,
}
"""The algorithms that say what JAX's names alone do not: on a GPU "bfloat16" would be TensorFloat-32."""

EXPONENT_BITS = 8
MANTISSA_BITS = {"bfloat16": 7, "tensorfloat32": 10}
"""Of the factors, without the leading one that is not written."""

PRODUCTS = (dot_general_p, conv_general_dilated_p)


def in_precision(function: Callable[..., Any], name: str, platform: str) -> Callable[..., Any]:
    """The same function with its matrix products, and those of its gradients, in the precision of that name.

    name: of the config, as the table above has it. platform: of the devices, "cpu", "gpu" or "tpu".
    """
    if name not in ALGORITHMS:
        return _within(function, None if name == "default" else name)
    if name == "tensorfloat32" and platform == "tpu":
        return _within(function, "high")
    asked = _within(function, ALGORITHMS[name].name)
    # XLA has no such products on a CPU: it takes bfloat16 for float32 without a word.
    return _rounding(asked, name) if platform == "cpu" else asked


def _within(function: Callable[..., Any], precision: str | None) -> Callable[..., Any]:
    """The function, traced while JAX's default is `precision`."""

    def run(*args: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return function(*args)

    return run


def _rounding(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, with the factors rounded of every product that was traced under that algorithm."""

    def run(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)

        def flat(*leaves: Any) -> Any:
            return function(*structure.unflatten(leaves))

        traced, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
        said = jaxpr_as_fun(ClosedJaxpr(_rounded(traced.jaxpr, name), traced.consts))(*leaves)
        return jax.tree.structure(shapes).unflatten(said)

    return run


def _rounded(jaxpr: Jaxpr, name: str) -> Jaxpr:
    """A traced function with the factors of its products rounded, wherever they stand in it."""
    return jaxpr.replace(eqns=[_rounded_equation(equation, name) for equation in jaxpr.eqns])


def _rounded_equation(equation: JaxprEqn, name: str) -> JaxprEqn:
    """One equation of a traced function: a product of rounded factors, or one with the functions in it rounded."""
    if equation.primitive in PRODUCTS and equation.params["precision"] == ALGORITHMS[name]:
        return _rounded_product(equation, name)
    return equation.replace(params={key: _rounded_inside(one, name) for key, one in equation.params.items()})


def _rounded_product(equation: JaxprEqn, name: str) -> JaxprEqn:
    """The equation that rounds both factors and then takes their product in float32."""
    exact = equation.params | {"precision": (jax.lax.Precision.HIGHEST,) * 2}

    @jax.jit
    def product(*factors: Any) -> Any:
        factors = tuple(jax.lax.reduce_precision(one, EXPONENT_BITS, MANTISSA_BITS[name]) for one in factors)
        return equation.primitive.bind(*factors, **exact)

    factors: list[Any] = [atom.aval for atom in equation.invars]
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in factors]
    (made,) = jax.make_jaxpr(product)(*shapes).jaxpr.eqns
    return made.replace(invars=equation.invars, outvars=equation.outvars)


def _rounded_inside(param: Any, name: str) -> Any:
    """A parameter of an equation, with the products rounded of the traced functions in it."""
    if isinstance(param, ClosedJaxpr):
        return ClosedJaxpr(_rounded(param.jaxpr, name), param.consts)
    if isinstance(param, Jaxpr):
        return _rounded(param, name)
    if type(param) in (tuple, list):
        return type(param)(_rounded_inside(one, name) for one in param)
    return param
