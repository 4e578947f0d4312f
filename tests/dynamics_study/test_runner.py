"""A study of dynamics end to end: what it trains and measures, what it does not do again, what it refuses."""

import csv
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from mia_jax import study
from mia_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    DynamicsConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
    with_changes,
)
from mia_jax.dynamics_study import measuring, runner
from mia_jax.progress import Silent
from mia_jax.runs import run_directory
from mia_jax.runs.identity import RunError
from mia_jax.runs.segments import Segments

ROOT = pathlib.Path(__file__).parents[2]
OPTIMIZERS = {"optimizer": {"sgd": {}, "sam": {"training": {"sam_radius": 0.05}}}}
SETTINGS = DynamicsConfig(splits=2, permutations=2, depth_neighbours=3, early=0.5, show=5)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Fewer draws of records than in earnest."""
    monkeypatch.setattr(measuring, "DRAWS", 20)


@pytest.fixture(scope="module")
def plain():
    """24 small MLPs on 40 digits, three checkpoints, nothing varied."""
    return Config(
        name="tiny",
        data=DataConfig(source="digits", pool_size=40, population_size=30, test_size=30),
        membership=MembershipConfig(num_models=24, train_size=18),
        families={"mlp": FamilyConfig(kind="mlp", hidden=8, layers=2)},
        training=TrainingConfig(epochs=12, batch_size=6, models_per_chunk=12, learning_rate=0.01),
        recording=RecordingConfig(epochs=(0, 4, 12), logits="none"),
        dynamics=SETTINGS,
    )


@pytest.fixture(scope="module")
def varied(plain):
    """The same with two families and two optimizers."""
    families = {**plain.families, "lstm": FamilyConfig(kind="lstm", hidden=5)}
    settings = dataclasses.replace(SETTINGS, factors=OPTIMIZERS)
    return dataclasses.replace(plain, families=families, dynamics=settings)


@pytest.fixture(scope="module")
def alone(plain, tmp_path_factory):
    """A study without factors: its rows and its directory. Read it, never write to it."""
    path = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "DRAWS", 20)
        return runner.dynamics(plain, path), path


@pytest.fixture(scope="module")
def whole(varied, tmp_path_factory):
    """The study of two families and two optimizers, what it said, and its directory."""
    path, said = tmp_path_factory.mktemp("whole") / "run", Words()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "DRAWS", 20)
        return runner.dynamics(varied, path, tell=said), said.words, path


class Words(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.words = []

    def say(self, sentence):
        self.words.append(sentence)


def same(found, wanted):
    """Whether two studies say the same of every arm, bit for bit, NaN and all."""
    assert [arm.factors for arm in found.arms] == [arm.factors for arm in wanted.arms]
    for one, other in zip(found.arms, wanted.arms, strict=True):
        for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert found.claims == wanted.claims
    assert list(found.compared) == list(wanted.compared)
    return True


def forbid(monkeypatch):
    """From now on nothing may be trained or measured."""

    def never(*_, **__):
        raise AssertionError("done again")

    monkeypatch.setattr(Segments, "write", never)
    monkeypatch.setattr(measuring, "arm_of", never)


def copy_of(path, tmp_path):
    target = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(path), str(target)], check=True)
    return target


# Without factors ---------------------------------------------------------------------------------


def test_without_factors_the_directory_is_the_run(alone, plain):
    rows, path = alone
    assert run_directory.existing(path).config == plain
    assert [arm.factors for arm in rows.arms] == [{"family": "mlp"}]
    assert rows.arms[0].fpr.shape == (3, 40)
    assert (path / "dynamics" / "mlp.npz").exists()
    assert not (path / "dynamics_config.json").exists()
    assert [claim.number for claim in rows.claims] == [1, 3, 4]
    assert (rows.title, rows.cuts, rows.confidence) == ("tiny", (0.2, 0.5), 0.95)
    assert rows.facts["runs"] == 1
    pool = rows.arms[0].pool
    assert rows.shown[pool].kind == "image"
    v = rows.arms[0].vulnerability[-1]
    assert v[rows.shown[pool].rows].min() >= np.delete(v, rows.shown[pool].rows).max()
    assert len(rows.shown[pool].rows) == 5


def test_what_is_finished_is_not_done_again(alone, plain, monkeypatch):
    rows, path = alone
    forbid(monkeypatch)
    assert same(runner.dynamics(plain, path), rows)
    # What is shown is no measuring; records that must not be shown are not.
    hidden = dataclasses.replace(plain, dynamics=dataclasses.replace(SETTINGS, show=0))
    assert runner.dynamics(hidden, path).shown == {}


def test_other_settings_are_measured_on_the_same_models(alone, plain, tmp_path, monkeypatch):
    rows, path = alone
    path = copy_of(path, tmp_path)
    monkeypatch.setattr(Segments, "write", None)
    settings = dataclasses.replace(SETTINGS, fpr=0.1, cuts=(0.3,))
    found = runner.dynamics(dataclasses.replace(plain, dynamics=settings), path)
    assert found.arms[0].who == "lira_online_global, at an FPR of 0.1"
    assert found.arms[0].transitions.shape == (2, 2, 2)
    assert found.cuts == (0.3,)
    assert same(runner.dynamics(plain, path), rows)


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_what_was_kept_badly_is_measured_again(alone, plain, tmp_path, monkeypatch, harm):
    rows, path = alone
    path = copy_of(path, tmp_path)
    file = path / "dynamics" / "mlp.npz"
    file.write_bytes(file.read_bytes()[:-100]) if harm == "damaged" else file.unlink()
    monkeypatch.setattr(Segments, "write", None)
    assert same(runner.dynamics(plain, path), rows)
    forbid(monkeypatch)
    assert same(runner.dynamics(plain, path), rows)


def test_begun_anew_everything_is_done_again(alone, plain, tmp_path):
    rows, path = alone
    path, written = copy_of(path, tmp_path), []
    keep, measure = Segments.write, measuring.arm_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Segments, "write", lambda self, *a, **k: (written.append("segment"), keep(self, *a, **k))[1]
        )
        patch.setattr(measuring, "arm_of", lambda *a: (written.append("arm"), measure(*a))[1])
        assert same(runner.dynamics(plain, path, overwrite=True), rows)
    assert written == ["segment"] * 6 + ["arm"]  # two chunks of models, three checkpoints


def test_a_training_that_was_stopped_goes_on(alone, plain, tmp_path, monkeypatch):
    rows, _ = alone
    path, written, keep = tmp_path / "run", [], Segments.write

    def stopped(self, segment, **options):
        if len(written) == 4:
            raise KeyboardInterrupt
        keep(self, segment, **options)
        written.append(segment.checkpoint)

    monkeypatch.setattr(Segments, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        runner.dynamics(plain, path)
    monkeypatch.setattr(Segments, "write", lambda self, *a, **k: (written.append(-1), keep(self, *a, **k))[1])
    assert same(runner.dynamics(plain, path), rows)
    assert len(written) == 6
    assert written[4:] == [-1, -1]


def test_diverged_arms_are_left_out_by_name(alone, plain, tmp_path, monkeypatch):
    _, path = alone
    path, said, honest = copy_of(path, tmp_path), Words(), Segments.signal
    (path / "dynamics" / "mlp.npz").unlink()

    def signal(self, name, checkpoint, **some):
        values = honest(self, name, checkpoint, **some)
        return np.full_like(values, np.nan) if name == "pool/log_prob" and checkpoint == 2 else values

    monkeypatch.setattr(Segments, "signal", signal)
    with pytest.raises(RunError, match="has no arm whose models are fit to be attacked"):
        runner.dynamics(plain, path, tell=said)
    left_out = [words for words in said.words if words.startswith("left out: ")]
    assert len(left_out) == 1
    assert "of family mlp 0 of 24 models are fit at every checkpoint" in left_out[0]


def test_the_directory_of_another_run_is_refused(alone, plain, varied):
    _, path = alone
    before = sorted(path.rglob("*"))
    with pytest.raises(RunError, match=r"holds a run of its own: name another --workdir for the study"):
        runner.dynamics(varied, path)
    other = dataclasses.replace(plain, training=dataclasses.replace(plain.training, learning_rate=0.1))
    with pytest.raises(RunError, match=r"holds another run: config\.training\.learning_rate is 0\.01 there"):
        runner.dynamics(other, path)
    assert sorted(path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("factors", [{}, OPTIMIZERS])
def test_strangers_in_the_directory_are_refused_and_stay(plain, tmp_path, factors, overwrite):
    (tmp_path / "mine.txt").write_text("mine")
    config = dataclasses.replace(plain, dynamics=dataclasses.replace(SETTINGS, factors=factors))
    with pytest.raises(RunError, match=r"not empty and holds no run \(mine\.txt is there\)"):
        runner.dynamics(config, tmp_path, overwrite=overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("level", "sentence"),
    [
        ({"training": {"sam_radius": -1.0}}, r"factors\.optimizer\.bad: config\.training\.sam_radius is -1"),
        ({"training": {"speed": 3}}, r"factors\.optimizer\.bad: config\.training\.speed does not exist"),
        ({"membership": {"num_models": 4}}, r"config\.membership\.num_models is 4: of 40 records"),
    ],
)
def test_runs_that_cannot_be_run_are_refused_before_any_is(plain, tmp_path, level, sentence):
    factors = {"optimizer": {"sgd": {}, "bad": level}}
    config = dataclasses.replace(plain, dynamics=dataclasses.replace(SETTINGS, factors=factors))
    with pytest.raises(ConfigError, match=sentence):
        runner.dynamics(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_factor_that_is_called_like_that_of_families_is_refused(varied, tmp_path):
    """Its levels would be written over, and after all trainings two arms would have one name."""
    factors = {"family": {"small": {}, "large": {"families": {"mlp": {"hidden": 9}}}}}
    config = dataclasses.replace(varied, dynamics=dataclasses.replace(SETTINGS, factors=factors))
    with pytest.raises(ConfigError, match=r"config\.dynamics\.factors has the name 'family'"):
        runner.dynamics(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# With factors ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_combination_is_a_run_and_every_family_an_arm(whole, varied):
    rows, said, path = whole
    assert [arm.name for arm in rows.arms] == ["sgd · mlp", "sgd · lstm", "sam · mlp", "sam · lstm"]
    for level, radius in (("sgd", 0.0), ("sam", 0.05)):
        run = run_directory.existing(path / level)
        assert run.config.training.sam_radius == radius
        assert run.config.dynamics.factors == {}
    assert len({arm.pool for arm in rows.arms}) == 1
    kinds = {(row["factor"], row["at"], row["shared"]) for row in rows.compared}
    assert kinds == {
        ("optimizer", "mlp", "records and members"),
        ("optimizer", "lstm", "records and members"),
        ("family", "sgd", "records and members"),
        ("family", "sam", "records and members"),
    }
    assert [claim.number for claim in rows.claims] == [1, 2, 3, 4]
    assert rows.facts["runs"] == 2
    assert rows.factors == {"optimizer": ["sgd", "sam"], "family": ["mlp", "lstm"]}
    assert [word.split(" (")[0] for word in said if word.startswith("run ")] == [
        "run 1 of 2: sgd",
        "run 2 of 2: sam",
    ]


@pytest.mark.slow
def test_a_finished_study_is_only_read(whole, varied, monkeypatch):
    rows, _, path = whole
    forbid(monkeypatch)
    assert same(runner.dynamics(varied, path), rows)


@pytest.mark.slow
def test_a_study_stopped_between_its_arms_measures_the_rest_alone(whole, varied, tmp_path, monkeypatch):
    rows, _, _ = whole
    measure, arms = measuring.arm_of, []

    def measured(followed, levels, *given):
        if len(arms) == 1:
            raise KeyboardInterrupt
        arms.append(dict(levels))
        return measure(followed, levels, *given)

    monkeypatch.setattr(measuring, "arm_of", measured)
    with pytest.raises(KeyboardInterrupt):
        runner.dynamics(varied, tmp_path / "run")
    assert not (tmp_path / "run" / "sam").exists()
    monkeypatch.setattr(measuring, "arm_of", lambda *given: (arms.append(dict(given[1])), measure(*given))[1])
    assert same(runner.dynamics(varied, tmp_path / "run"), rows)
    assert arms == [arm.factors for arm in rows.arms]


@pytest.mark.slow
def test_a_level_more_trains_that_level_alone(whole, varied, tmp_path):
    rows, _, path = whole
    path = copy_of(path, tmp_path)
    factors = {"optimizer": {**OPTIMIZERS["optimizer"], "slow": {"training": {"learning_rate": 0.001}}}}
    more = dataclasses.replace(varied, dynamics=dataclasses.replace(SETTINGS, factors=factors))
    measure, arms = measuring.arm_of, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            measuring, "arm_of", lambda *given: (arms.append(given[1]["optimizer"]), measure(*given))[1]
        )
        found = runner.dynamics(more, path)
    assert arms == ["slow", "slow"]
    assert len(found.arms) == 6
    assert same(found._replace(arms=found.arms[:4], claims=rows.claims, compared=rows.compared), rows)


# The command -------------------------------------------------------------------------------------

CONFIG = '''
"""Digits, two families, two optimizers."""
from mia_jax.config import *

def get_config():
    return to_config_dict(Config(
        name="command",
        data=DataConfig(source="digits", pool_size=300, population_size=30, test_size=30),
        families={"mlp": FamilyConfig(kind="mlp", hidden=8, layers=2), "lstm": FamilyConfig(kind="lstm", hidden=5)},
        training=TrainingConfig(epochs=12, batch_size=6, learning_rate=0.01),
        recording=RecordingConfig(epochs=(0, 4, 12), logits="none"),
        dynamics=DynamicsConfig(splits=2, permutations=2, depth_neighbours=3, early=0.5, factors={
            "optimizer": {"sgd": {}, "sam": {"training": {"sam_radius": 0.05}}}}),
        scales={"tiny": {"data": {"pool_size": 40}, "membership": {"num_models": 24, "train_size": 18}}},
    ))
'''


def command(compiled, *given):
    """Standard output of scripts/dynamics.py, which must succeed; or its one error."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "dynamics.py"), *map(str, given)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        timeout=600,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def commanded(tmp_path_factory):
    """A study by its command at a small scale, with its early warning: places and what was printed."""
    place = tmp_path_factory.mktemp("command")
    (place / "study.py").write_text(CONFIG)
    code, out, err = command(
        place / "compiled",
        f"--config={place / 'study.py'}",
        "--config.scale=tiny",
        "--predict",
        f"--workdir={place / 'run'}",
    )
    assert code == 0, err
    return place, out


@pytest.mark.slow
def test_the_command_writes_page_tables_figures_and_warnings(commanded):
    place, out = commanded
    path = place / "run"
    names = ("sgd_mlp", "sgd_lstm", "sam_mlp", "sam_lstm")
    for name in names:
        assert (path / "arms" / f"{name}.json").exists()
        with (path / "records" / f"{name}.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 40
        listed = json.loads((path / "early_warning" / f"{name}.json").read_text())
        assert len(listed["rows"]) == 4
        assert listed["measured"]["epoch"] == 4
        assert str(path / "early_warning" / f"{name}.json") in out.replace("\n", "")
    assert (path / "dynamics.html").stat().st_size > 10_000
    assert list((path / "figures").glob("dynamics_*.svg"))
    with (path / "dynamics_arms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["optimizer"], row["family"], row["num_models"]) for row in rows] == [
        (optimizer, family, "24") for optimizer in ("sgd", "sam") for family in ("mlp", "lstm")
    ]
    kept = json.loads((path / "dynamics_config.json").read_text())
    assert (kept["scale"], kept["data"]["pool_size"]) == ("default", 40)


@pytest.mark.slow
def test_the_command_again_only_writes_it_down_again(commanded):
    place, _ = commanded
    path = place / "run"
    kept = [*path.glob("*/commits/**/*.json"), *path.glob("*/dynamics/*.npz")]
    before = {file: file.stat().st_mtime_ns for file in kept}
    page = (path / "dynamics.html").read_bytes()
    (path / "dynamics.html").unlink()
    code, _, err = command(
        place / "compiled", f"--config={place / 'study.py'}", "--config.scale=tiny", f"--workdir={path}"
    )
    assert code == 0, err
    assert len(list(path.glob("*/dynamics/*.npz"))) == 4
    assert len(before) >= 4 + 4 * 3  # as many chunks of models as the device takes, three checkpoints
    assert {file: file.stat().st_mtime_ns for file in kept} == before
    assert len((path / "dynamics.html").read_bytes()) == pytest.approx(len(page), abs=200)


@pytest.mark.slow
def test_a_second_study_spares_the_records_that_were_foretold(commanded):
    place, _ = commanded
    warning = place / "run" / "early_warning" / "sgd_mlp.json"
    code, _, err = command(
        place / "compiled",
        f"--config={place / 'study.py'}",
        "--config.scale=tiny",
        f"--config.membership.without={warning}",
        f"--workdir={place / 'spared'}",
    )
    assert code == 0, err
    listed = json.loads(warning.read_text())["rows"]
    for level in ("sgd", "sam"):
        member = run_directory.existing(place / "spared" / level).membership().member
        assert not member[:, listed].any()
        assert member.sum(axis=1).tolist() == [18] * 24
    with (place / "spared" / "records" / "sam_lstm.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [n for n, row in enumerate(rows) if not row["vulnerability"]] == sorted(listed)


@pytest.mark.slow
def test_a_finished_run_is_followed_by_its_directory_alone(commanded, tmp_path):
    place, _ = commanded
    path = copy_of(place / "run" / "sam", tmp_path)
    code, out, err = command(place / "compiled", f"--workdir={path}")
    assert code == 0, err
    assert (path / "dynamics.html").exists()
    assert sorted(file.stem for file in (path / "arms").iterdir()) == ["lstm", "mlp"]
    assert run_directory.existing(path).config.training.sam_radius == 0.05
    assert "Displacement" in out


@pytest.mark.slow
def test_what_is_wrong_is_one_sentence(commanded, tmp_path):
    place, _ = commanded
    config = f"--config={place / 'study.py'}"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    for given, sentence in (
        (
            [config, "--config.scale=huge", f"--workdir={tmp_path / 'a'}"],
            "it must be one of 'default', 'tiny'",
        ),
        ([config, "--config.scale=tiny", f"--workdir={tmp_path / 'b'}"], "mine.txt is there"),
        ([config, "--config.scale=tiny", f"--workdir={place / 'run' / 'sgd'}"], "holds a run of its own"),
    ):
        code, _, err = command(place / "compiled", *given)
        assert code == 2
        assert err.startswith("error: ")
        assert sentence in err


def test_an_arm_is_of_the_run_of_its_config(alone, plain, tmp_path):
    """What a study trains is what the study's stages train."""
    rows, path = alone
    run = study.train(plain, tmp_path / "run")
    for checkpoint in range(3):
        np.testing.assert_array_equal(
            run.segments("mlp").signal("pool/scaled_logit", checkpoint),
            run_directory.existing(path).segments("mlp").signal("pool/scaled_logit", checkpoint),
        )
    assert rows.arms[0].pool == run.fingerprint


def test_attacks_whose_arrays_are_not_recorded_are_refused_before_any_work(plain, tmp_path):
    settings = dataclasses.replace(SETTINGS, also_attacks=("gradient_norm",))
    with pytest.raises(ConfigError, match=r"config\.dynamics names gradient_norm, which needs gradient_norm"):
        runner.dynamics(dataclasses.replace(plain, dynamics=settings), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_list_that_overwriting_would_clear_is_refused(plain, tmp_path):
    file = tmp_path / "early_warning" / "mlp.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"rows": [1], "fingerprint": "of other records"}))
    config = with_changes(plain, {"membership": {"without": str(file)}})
    for write in (runner.dynamics, study.train):
        with pytest.raises(ConfigError, match="it lies in the directory that --overwrite would clear"):
            write(config, tmp_path, overwrite=True)
    assert file.exists()
