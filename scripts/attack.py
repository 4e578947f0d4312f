"""Attack a trained run: python scripts/attack.py --workdir=runs/digits --attacks=loss,lira_online."""

from mia_jax import cli

if __name__ == "__main__":
    cli.attack()
