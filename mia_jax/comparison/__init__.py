"""Families compared as targets: over pools, at equal epochs, equal generalisation gap and equal accuracy."""

from mia_jax.comparison.runner import compare as compare
from mia_jax.comparison.runs import Run as Run
from mia_jax.comparison.runs import runs as runs
