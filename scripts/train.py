"""Train shadow models: python scripts/train.py --config=configs/digits.py --workdir=runs/digits."""

from mia_jax import cli

if __name__ == "__main__":
    cli.train()
