"""What defences buy and cost: scripts/tradeoff.py --config=configs/tradeoff_digits.py --workdir=runs/tradeoff."""

from mia_jax import cli

if __name__ == "__main__":
    cli.tradeoff()
