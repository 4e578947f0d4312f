"""A comparison small enough to be trained in a test: three MLPs, two pools, one variant."""

import pytest

from mia_jax import comparison
from mia_jax.config import (
    AttacksConfig,
    ComparisonConfig,
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
)


@pytest.fixture(scope="session")
def config():
    return Config(
        name="narrow_and_wide",
        data=DataConfig(
            source="synthetic:gaussian,classes=3,features=6", pool_size=40, population_size=30, test_size=20
        ),
        membership=MembershipConfig(num_models=8, train_size=20, design="paired"),
        families={
            "mlp": FamilyConfig(kind="mlp", hidden=4),
            "wide": FamilyConfig(kind="mlp", hidden=32),
            "deep": FamilyConfig(kind="mlp", hidden=8, layers=2),
        },
        training=TrainingConfig(epochs=20, batch_size=5, learning_rate=1e-2),
        recording=RecordingConfig(epochs=(0, 3, 8, 20), logits="none"),
        attacks=AttacksConfig(names=("loss", "lira_offline_global")),
        comparison=ComparisonConfig(pools=2, variants={"slow": {"training": {"learning_rate": 3e-3}}}),
    )


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="session")
def rows(config, workdir):
    return comparison.compare(config, workdir)
