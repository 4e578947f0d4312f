"""Figures of a study of dynamics, from its rows: the plane, ways over it, curves, arms, transitions and difficulty."""

from mia_jax.dynamics_study.figures.by_arm import arms as arms
from mia_jax.dynamics_study.figures.by_difficulty import difficulty as difficulty
from mia_jax.dynamics_study.figures.by_epoch import curves as curves
from mia_jax.dynamics_study.figures.by_state import transitions as transitions
from mia_jax.dynamics_study.figures.plane import planes as planes
from mia_jax.dynamics_study.figures.plane import shown_arms as shown_arms
from mia_jax.dynamics_study.figures.plane import trajectories as trajectories
