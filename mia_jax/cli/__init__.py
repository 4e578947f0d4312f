"""The commands: absl flags in, one call into the library, one sentence where something is wrong."""

from mia_jax.cli.account import account as account
from mia_jax.cli.help import help_text as help_text
from mia_jax.cli.stages import attack as attack
from mia_jax.cli.stages import report as report
from mia_jax.cli.stages import run as run
from mia_jax.cli.stages import train as train
from mia_jax.cli.start import default_config_file as default_config_file
from mia_jax.cli.studies import compare as compare
from mia_jax.cli.studies import dynamics as dynamics
from mia_jax.cli.studies import rnn_vs_ffnn as rnn_vs_ffnn
from mia_jax.cli.studies import tradeoff as tradeoff
