"""Account without training: python scripts/account.py --num_examples=1000 --batch_size=64 --steps=480 --delta=1e-5 …"""

from mia_jax import cli

if __name__ == "__main__":
    cli.account()
