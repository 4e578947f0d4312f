"""What L2, DP-SGD and noise after training buy and cost on the digits, an LSTM beside an MLP.

Shows: whether defences do less for a recurrent network than for a feed-forward one of its size: at equal strength,
equal epsilon and equal attack success.
Command: python scripts/tradeoff.py --config=configs/rnn_vs_ffnn/defences_digits.py \
    --workdir=runs/rnn_vs_ffnn/defences_digits
Time: about 9 minutes on two CPU cores, reckoned from one pool (171 s).
With --config.scale=full it is made for accelerators.
"""

from ml_collections import ConfigDict

from mia_jax.config import (
    AttacksConfig,
    Config,
    FamilyConfig,
    MembershipConfig,
    TradeoffConfig,
    TrainingConfig,
    to_config_dict,
)


def get_config() -> ConfigDict:
    """64 models an arm and pool, each trained on half of its pool; three pools."""
    return to_config_dict(
        Config(
            name="rnn_vs_ffnn_defences_digits",
            membership=MembershipConfig(num_models=64, train_size=200),
            families={
                "lstm": FamilyConfig(kind="lstm", hidden=37),
                "mlp": FamilyConfig(kind="mlp", layers=2, match="lstm"),
            },
            training=TrainingConfig(epochs=60, learning_rate=3e-3),
            attacks=AttacksConfig(
                names=("shadow_classifier", "loss", "lira_online_global", "rmia_online"), classifier_rows=8000
            ),
            tradeoff=TradeoffConfig(
                grid={
                    "l2": (1e-4, 1e-3, 1e-2, 1e-1),
                    "dp_sgd": (2.0, 4.0, 8.0, 16.0),
                    "parameter_noise": (0.02, 0.05, 0.1, 0.2, 0.4),
                },
                seeds=(0, 1, 2),
                draws=5,
            ),
            scales={"full": {"membership": {"num_models": 256}}},
        )
    )
