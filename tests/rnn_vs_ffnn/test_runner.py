"""The study's one command on two small configs: a comparison and a trade-off, run, kept, and run again."""

from pathlib import Path

import pytest

from mia_jax.config import ConfigError
from mia_jax.progress import Silent
from mia_jax.rnn_vs_ffnn import results, runner

TINY = """
from mia_jax.config import *

def get_config():
    return to_config_dict(Config(
        name="tiny", data=DataConfig(pool_size=80), membership=MembershipConfig(num_models=24, train_size=40),
        families={"mlp": FamilyConfig(kind="mlp", hidden=8), "lstm": FamilyConfig(kind="lstm", hidden=4)},
        training=TrainingConfig(epochs=4), attacks=AttacksConfig(names=("shadow_classifier", "loss")), MORE))
"""
COMPARED = 'recording=RecordingConfig(epochs=(0, 2, 4), logits="all")'
DEFENDED = 'tradeoff=TradeoffConfig(grid={"l2": (1e-3, 1e-2)}, draws=2)'


@pytest.mark.slow  # trains eight arms
def test_every_config_is_run_and_kept_and_the_page_made(tmp_path: Path) -> None:
    configs, kept = tmp_path / "configs", tmp_path / "docs" / "study" / "results"
    configs.mkdir()
    (configs / "tiny.py").write_text(TINY.replace("MORE", COMPARED))
    (configs / "defences_tiny.py").write_text(TINY.replace("MORE", DEFENDED))
    todo = runner.chosen(configs, [])
    assert [path.stem for path in todo] == ["defences_tiny", "tiny"]
    for path in todo:
        runner.run(path, tmp_path / "runs" / path.stem, kept, data="", tell=Silent())
    first = results.read(kept)
    assert {row["family"] for row in first["tiny"]["at_epochs"]} == {"lstm"}
    assert {row["defence"] for row in first["defences_tiny"]["contrasts"]} == {"l2"}
    assert "command" not in first["tiny"]["facts"]
    for path in todo:
        runner.run(path, tmp_path / "runs" / path.stem, kept, data="", tell=Silent())
    again = results.read(kept)
    assert again["tiny"]["curves"] == first["tiny"]["curves"]
    assert again["tiny"]["seconds"] == first["tiny"]["seconds"]  # of the training, not of reading it again
    page = runner.write_page(kept)
    assert page == tmp_path / "docs" / "study.md"
    assert "--only=defences_tiny" in page.read_text()


def test_seconds_are_of_all_calls_until_the_first_that_finished(tmp_path: Path, monkeypatch) -> None:
    path, clock = tmp_path / "seconds.json", iter(range(0, 1000, 10))
    monkeypatch.setattr(runner.time, "monotonic", lambda: next(clock))
    with pytest.raises(KeyboardInterrupt), runner._timed(path):
        raise KeyboardInterrupt
    for seconds in (20.0, 20.0):  # the second finished call reads a finished run
        with runner._timed(path) as spent:
            pass
        assert spent["seconds"] == seconds


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text("")
    with pytest.raises(ConfigError, match=r"'mnist'.*are digits"):
        runner.chosen(tmp_path, ["mnist"])
    with pytest.raises(ConfigError, match="no result"):
        runner.write_page(tmp_path / "none")
