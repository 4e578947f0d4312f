"""The page of a study of dynamics: one HTML file that needs no network and no file beside it."""

from mia_jax.dynamics_study.page.rendering import render as render
