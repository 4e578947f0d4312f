"""Train, attack and report: python scripts/run.py --config=configs/digits.py --workdir=runs/digits."""

from mia_jax import cli

if __name__ == "__main__":
    cli.run()
