"""Records followed through training: scripts/dynamics.py --config=configs/dynamics_digits.py --workdir=runs/dyn."""

from mia_jax import cli

if __name__ == "__main__":
    cli.dynamics()
