"""A study small enough to be trained in a test: paired halves need only few models."""

import dataclasses

import pytest

from mia_jax.config import (
    AttacksConfig,
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    ReportConfig,
    TrainingConfig,
)


@pytest.fixture(scope="session")
def small_config():
    """Eight small MLPs on Gaussian classes, three checkpoints, two chunks."""
    return Config(
        name="small",
        data=DataConfig(
            source="synthetic:gaussian,classes=3,features=6", pool_size=40, population_size=30, test_size=20
        ),
        membership=MembershipConfig(num_models=8, train_size=20, design="paired"),
        families={"mlp": FamilyConfig(kind="mlp", hidden=5)},
        training=TrainingConfig(epochs=6, batch_size=8, models_per_chunk=4),
        recording=RecordingConfig(num_checkpoints=3, parameters="all"),
        attacks=AttacksConfig(names=("loss", "lira_online", "rmia_offline")),
        report=ReportConfig(fpr=(0.1, 0.01)),
    )


@pytest.fixture(scope="session")
def change():
    """Function that replaces fields of a config: change(config, "training.epochs", 3)."""

    def replaced(config, path, value):
        first, _, rest = path.partition(".")
        inner = replaced(getattr(config, first), rest, value) if rest else value
        return dataclasses.replace(config, **{first: inner})

    return replaced


@pytest.fixture(scope="session")
def all_numbers():
    """Function that reads every number a training leaves behind: {name: array}."""

    def read(run):
        numbers = {}
        for family in run.config.families:
            for name in ("log_prob", "scaled_logit", "entropy", "modified_entropy", "correct", "last_seen"):
                for checkpoint in range(len(run.epochs)):
                    numbers[family, name, checkpoint] = run.segments(family).signal(
                        f"pool/{name}", checkpoint
                    )
            for entry in run.store.names(f"parameters/{family}/"):
                for leaf, values in run.store.read_arrays(entry).items():
                    numbers[entry, leaf] = values
        return numbers

    return read


@pytest.fixture(scope="session")
def finished_run(small_config, tmp_path_factory):
    """The small study, trained and attacked. Read it, never write to it."""
    from mia_jax import study

    run = study.train(small_config, tmp_path_factory.mktemp("finished"))
    study.attack(run)
    return run
