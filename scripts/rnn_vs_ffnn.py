"""The study of recurrent beside feed-forward networks: scripts/rnn_vs_ffnn.py --data=PATH [--only=digits,mnist]."""

from mia_jax import cli

if __name__ == "__main__":
    cli.rnn_vs_ffnn()
