"""Families compared as targets: scripts/compare.py --config=configs/rnn_vs_ffnn/digits.py --workdir=runs/compare."""

from mia_jax import cli

if __name__ == "__main__":
    cli.compare()
