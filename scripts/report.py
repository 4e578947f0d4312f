"""Report on an attacked run: python scripts/report.py --workdir=runs/digits."""

from mia_jax import cli

if __name__ == "__main__":
    cli.report()
