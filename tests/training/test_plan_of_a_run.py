"""A run trains as many models side by side as memory allows, says so, and goes on as it was begun."""

import numpy as np
import pytest

from mia_jax import config as configs
from mia_jax import study
from mia_jax.config import Config, DataConfig, FamilyConfig, MembershipConfig, RecordingConfig, TrainingConfig
from mia_jax.runs.run_directory import existing

SMALL = Config(
    data=DataConfig(
        source="synthetic:gaussian,classes=3,features=6", pool_size=30, population_size=10, test_size=10
    ),
    membership=MembershipConfig(num_models=12, train_size=15, design="paired"),
    families={"mlp": FamilyConfig(hidden=4)},
    training=TrainingConfig(epochs=2, batch_size=8, memory_gib=1.0),
    recording=RecordingConfig(num_checkpoints=2),
)


class Told:
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def begin(self, family, models, steps, done):
        pass

    def advance(self, models_done, steps):
        pass

    def end(self):
        pass


def changed(**training):
    return configs.with_changes(SMALL, {"training": training})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    told = Told()
    finished = study.train(SMALL, tmp_path_factory.mktemp("planned"), tell=told)
    return finished, told.said


def signals(run):
    return run.segments("mlp").signal("pool/scaled_logit", 1)


@pytest.mark.slow
def test_what_was_decided_and_why_is_one_line(run):
    said = [line for line in run[1] if "side by side" in line]
    assert len(said) == 1
    # Two devices: half of the twelve models on each.
    assert said[0].startswith("mlp: 6 models side by side on a device take ")
    assert said[0].endswith(" of 1 GiB, and more would gain nothing")


@pytest.mark.slow
def test_a_run_goes_on_as_many_side_by_side_as_it_was_begun_with(run, tmp_path):
    begun = study.train(configs.with_changes(SMALL, {"membership": {"num_models": 6}}), tmp_path)
    assert begun.record["families"]["mlp"]["plan"]["models_together"] == 3
    other = changed(memory_gib=0.5, feed="blocks")
    grown = study.train(other, tmp_path, tell=(told := Told()))
    assert existing(tmp_path).record["families"]["mlp"]["plan"]["models_together"] == 3
    assert any("records are fed in blocks" in line for line in told.said)
    np.testing.assert_allclose(signals(grown), signals(run[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_run_that_is_fed_in_blocks_is_the_same_run(tmp_path):
    stays = study.train(changed(memory_gib=0.0), tmp_path / "stays")
    fed = study.train(changed(memory_gib=0.0, feed="blocks"), tmp_path / "fed")
    np.testing.assert_array_equal(signals(fed), signals(stays))
    hashes = [one.segments("mlp")._hash for one in (stays, fed)]
    assert hashes[0] == hashes[1]
