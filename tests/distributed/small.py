"""A study that is trained in a moment: six small MLPs in three chunks, three checkpoints."""

from mia_jax import config


def get_config():
    """A config as scripts take it."""
    return config.to_config_dict(
        config.Config(
            name="small",
            data=config.DataConfig(
                source="synthetic:gaussian,classes=3,features=6",
                pool_size=40,
                population_size=30,
                test_size=20,
            ),
            membership=config.MembershipConfig(num_models=6, train_size=20, design="paired"),
            families={"mlp": config.FamilyConfig(kind="mlp", hidden=5)},
            training=config.TrainingConfig(epochs=6, batch_size=8, models_per_chunk=2),
            recording=config.RecordingConfig(num_checkpoints=3, parameters="all", logits="none"),
            attacks=config.AttacksConfig(names=("loss", "rmia_offline")),
            report=config.ReportConfig(fpr=(0.1,)),
        )
    )
