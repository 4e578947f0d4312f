"""The stages of a study: train, attack, report. Each reads and writes one run directory.

`own_signals` is the same for models that somebody trained elsewhere: one file in, the report out.
"""

from mia_jax.study.attacking import attack as attack
from mia_jax.study.environment import environment as environment
from mia_jax.study.reporting import report as report
from mia_jax.study.reporting import summarise as summarise
from mia_jax.study.training import prepare as prepare
from mia_jax.study.training import train as train
