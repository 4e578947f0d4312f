"""mia_jax: the JAX laboratory for membership privacy."""

__version__ = "0.1.0"
