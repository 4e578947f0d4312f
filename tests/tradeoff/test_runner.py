"""The trade-off as a job: its arms are studies, strengths share their programs, and what was stopped goes on."""

import dataclasses
import json

import numpy as np
import pytest

from mia_jax import data, study
from mia_jax.config import (
    AttacksConfig,
    CanariesConfig,
    Config,
    ConfigError,
    DataConfig,
    DpSgdConfig,
    FamilyConfig,
    MembershipConfig,
    ParameterNoiseConfig,
    ReportConfig,
    TradeoffConfig,
    TrainingConfig,
    to_mapping,
)
from mia_jax.runs import run_directory
from mia_jax.runs.identity import RunError, flat
from mia_jax.tradeoff import arms, runner, tradeoff
from mia_jax.tradeoff.arms import CHANGES
from mia_jax.tradeoff.writing import write_tradeoff
from mia_jax.training import programs

GRID = {
    "l2": (1e-3, 1e-1),
    "dp_sgd": (4.0, 16.0),
    "parameter_noise": (0.1, 5.0),
    "early_stopping": (2.0,),
}


@pytest.fixture(scope="module")
def config():
    """Eight small MLPs an arm, two seeds of two."""
    return Config(
        name="small",
        data=DataConfig(
            source="synthetic:gaussian,classes=3,features=6", pool_size=40, population_size=30, test_size=20
        ),
        membership=MembershipConfig(num_models=8, train_size=20, design="paired"),
        families={"mlp": FamilyConfig(kind="mlp", hidden=5)},
        training=TrainingConfig(epochs=4, batch_size=8),
        attacks=AttacksConfig(names=("loss", "lira_offline_global")),
        report=ReportConfig(fpr=(0.1,)),
        canaries=CanariesConfig(count=6, kind="out_of_distribution"),
        tradeoff=TradeoffConfig(grid=GRID, draws=2, sensitivity_draws=3),
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """A finished trade-off: its rows, its folder, and how many programs it compiled."""
    path = tmp_path_factory.mktemp("tradeoff") / "run"
    programs._kept_programs.cache_clear()
    rows = tradeoff(config, path)
    return rows, path, programs._kept_programs.cache_info().misses


def settings(rows):
    return [(row["defence"], row["strength"]) for row in rows]


@pytest.mark.slow
def test_every_arm_has_its_rows(finished):
    rows, _, _ = finished
    expected = {("none", 0.0), *((name, s) for name, strengths in GRID.items() for s in strengths)}
    assert set(settings(rows.utility)) == expected
    assert len(rows.utility) == len(expected)
    assert set(settings(rows.results)) == expected
    assert {row["attack"] for row in rows.results} == {"loss", "lira_offline_global"}
    assert set(settings(rows.audits)) == expected
    promises = {
        (*key, row["kind"], row["relation"])
        for key, row in zip(settings(rows.privacy), rows.privacy, strict=True)
    }
    assert promises == {
        *(("dp_sgd", s, "accounted", r) for s in GRID["dp_sgd"] for r in ("add-or-remove", "replace-one")),
        *(
            ("parameter_noise", s, kind, "add-or-remove")
            for s in GRID["parameter_noise"]
            for kind in ("nominal", "analytic")
        ),
    }


@pytest.mark.slow
def test_promises_are_the_targets_and_name_what_they_rest_on(finished):
    rows, _, _ = finished
    for row in rows.privacy:
        assert row["delta"] == 1e-5
        assert row["unit"] == "record"
        if row["defence"] == "dp_sgd" and row["relation"] == "add-or-remove":
            assert 0.98 * row["strength"] < row["epsilon"] <= row["strength"]
        if row["defence"] == "parameter_noise":
            assert 0 < row["gamma"] <= 1
            assert row["samples"] == 3


@pytest.mark.slow
def test_strengths_that_change_no_shape_are_one_program(finished):
    # Without a defence and for sensitivities (longer lists have canaries), with L2, with DP-SGD.
    assert finished[2] == 4


@pytest.mark.slow
def test_an_arm_is_the_study_of_its_config(config, finished, tmp_path):
    rows, path, _ = finished
    arm = next(arm for arm in arms(config) if (arm.defence, arm.strength) == ("l2", 0.1))
    run = study.train(arm.config, tmp_path / "alone")
    study.attack(run)
    inputs = study.report(run)
    own = [row for row in rows.results if (row["defence"], row["strength"]) == ("l2", 0.1)]
    assert [row["auc"] for row in own] == [row["auc"] for row in inputs.results]
    assert run_directory.existing(path / arm.name).config == arm.config


@pytest.mark.slow
def test_noise_without_end_leaves_nothing_to_attack(finished):
    aucs = {
        row["strength"]: row["auc"]
        for row in finished[0].results
        if (row["defence"], row["attack"]) == ("parameter_noise", "loss")
    }
    assert abs(aucs[5.0] - 0.5) < 0.1


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(config, finished, monkeypatch):
    rows, path, _ = finished
    monkeypatch.setattr(study, "attack", None)  # whoever calls them now, fails
    monkeypatch.setattr(runner.releases, "release_rows", None)
    monkeypatch.setattr(runner.sensitivity, "sample_sensitivity", None)
    again = tradeoff(config, path)
    assert (again.utility, again.results, again.audits) == (rows.utility, rows.results, rows.audits)
    assert json.dumps(again.privacy) == json.dumps(rows.privacy)


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(config, finished, tmp_path, monkeypatch):
    small = dataclasses.replace(config, tradeoff=TradeoffConfig(grid={"l2": (1e-3, 1e-1)}))
    attack, attacked = study.attack, []

    def attack_two(run, **options):
        if len(attacked) == 2:
            raise KeyboardInterrupt
        attacked.append(run)
        attack(run, **options)

    monkeypatch.setattr(study, "attack", attack_two)
    with pytest.raises(KeyboardInterrupt):
        tradeoff(small, tmp_path / "run")
    monkeypatch.setattr(study, "attack", lambda run, **options: attacked.append(attack(run, **options)))
    found = tradeoff(small, tmp_path / "run")
    assert len(attacked) == 3  # the third arm, and no other again
    whole = [row for row in finished[0].results if row["defence"] in ("none", "l2")]
    assert found.results == whole


@pytest.mark.slow
@pytest.mark.slow
def test_other_attacks_are_run_on_the_same_models(config, finished, tmp_path):
    small = dataclasses.replace(config, tradeoff=TradeoffConfig(grid={"l2": (1e-3,)}))
    tradeoff(small, tmp_path / "run")
    other = dataclasses.replace(small, attacks=AttacksConfig(names=("entropy",)))
    found = tradeoff(other, tmp_path / "run")
    assert {row["attack"] for row in found.results} == {"entropy"}


def test_without_seeds_it_is_the_study_as_it_stands(config):
    own = dataclasses.replace(config, seed=7, data=dataclasses.replace(config.data, seed=8))
    found = arms(dataclasses.replace(own, tradeoff=TradeoffConfig(grid={"l1": (0.1,)})))
    assert [(arm.name, arm.config.seed, arm.config.data.seed) for arm in found] == [
        ("seed7/none", 7, 8),
        ("seed7/l1_0.1", 7, 8),
    ]


def test_every_arm_has_a_folder_of_its_own(config):
    grid = {"l2": (0.1234567, 0.12345678, 1.0), "early_stopping": (1.0, 2.0)}
    names = [arm.name for arm in arms(dataclasses.replace(config, tradeoff=TradeoffConfig(grid=grid)))]
    assert names == ["seed0/none_1_2", "seed0/l2_0.1234567", "seed0/l2_0.12345678", "seed0/l2_1"]


def test_a_seed_is_other_models_on_a_pool_that_shares_no_record(config):
    both = arms(dataclasses.replace(config, tradeoff=TradeoffConfig(grid={"l1": (0.1,)}, seeds=(3, 5))))
    assert [arm.name for arm in both] == ["seed3/none", "seed3/l1_0.1", "seed5/none", "seed5/l1_0.1"]
    assert [(arm.config.seed, arm.config.data.pool_number) for arm in both] == [
        (3, 0),
        (3, 0),
        (5, 1),
        (5, 1),
    ]
    first, second = (data.load(arm.config.data).pool.x for arm in both[::2])
    records = [{record.tobytes() for record in pool} for pool in (np.asarray(first), np.asarray(second))]
    assert all(records)
    assert not records[0] & records[1]


def test_the_pools_of_seeds_begin_at_the_configs_own(config):
    third = dataclasses.replace(config.data, pool_number=2)
    both = arms(dataclasses.replace(config, data=third, tradeoff=TradeoffConfig(seeds=(3, 5))))
    assert [arm.config.data.pool_number for arm in both] == [2, 3]


WHERE = {
    "l2": ("regularization", "l2"),
    "l2_norm": ("regularization", "l2_norm"),
    "l1": ("regularization", "l1"),
    "label_smoothing": ("regularization", "label_smoothing"),
    "weight_decay": ("training", "weight_decay"),
    "dropout": ("families", "mlp", "dropout"),
    "adversarial": ("adversarial", "radius"),
    "dp_sgd": ("dp_sgd", "epsilon"),
    "label_privacy": ("label_privacy", "epsilon"),
}


def test_every_defence_of_the_grid_changes_its_own_field_and_no_other(config):
    assert set(WHERE) == set(CHANGES)
    grid = dict.fromkeys(CHANGES, (0.25,))
    plain, *defended = arms(dataclasses.replace(config, tradeoff=TradeoffConfig(grid=grid)))
    assert [arm.defence for arm in defended] == list(grid)
    before = flat(to_mapping(plain.config))
    for arm in defended:
        after = flat(to_mapping(arm.config))
        changed = {name: value for name, value in after.items() if value != before.get(name)}
        assert changed == {".".join(WHERE[arm.defence]): 0.25}


@pytest.mark.slow
def test_a_directory_of_anything_else_is_refused(config, finished, tmp_path):
    path = finished[1]
    with pytest.raises(RunError, match="holds a run of its own"):
        tradeoff(config, path / "seed0" / "none_2")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not empty and holds no run \(mine\.txt"):
        tradeoff(config, tmp_path)
    longer = dataclasses.replace(config, training=dataclasses.replace(config.training, learning_rate=0.1))
    with pytest.raises(RunError, match="learning_rate"):
        tradeoff(longer, path)


@pytest.mark.parametrize(
    ("grid", "change", "sentence"),
    [
        ({"label_smoothing": (0.1, 1.5)}, {}, r"grid\.label_smoothing holds 1\.5: "),
        ({"label_privacy": (2.0, 20.0)}, {}, r"grid\.label_privacy holds 20\.0: "),
        (
            {"l2": (0.1,), "dp_sgd": (1.0,)},
            {"dp_sgd": DpSgdConfig(sampling="truncated_poisson", max_batch=9, accountant="rdp")},
            "rdp",
        ),
    ],
)
def test_arms_that_cannot_be_run_are_refused_before_any_is(config, tmp_path, grid, change, sentence):
    impossible = dataclasses.replace(config, tradeoff=TradeoffConfig(grid=grid), **change)
    with pytest.raises(ConfigError, match=sentence):
        tradeoff(impossible, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_begun_anew_nothing_old_is_shown_even_if_it_is_stopped(config, tmp_path, monkeypatch):
    small = dataclasses.replace(config, tradeoff=TradeoffConfig(grid={"l2": (1e-3,)}))
    whole = tradeoff(small, tmp_path / "run")
    for entry in (tmp_path / "run").rglob("rows.json"):
        entry.write_text(entry.read_text().replace('"auc": 0.', '"auc": 0.123456'))
    forged = tradeoff(small, tmp_path / "run")
    assert forged.results != whole.results  # what is kept is what is shown
    changed = dataclasses.replace(small, training=dataclasses.replace(small.training, epochs=3))

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        tradeoff(changed, tmp_path / "run", overwrite=True)
    monkeypatch.undo()
    found = tradeoff(changed, tmp_path / "run")
    assert {row["epoch"] for row in found.results} == {3}
    again = tradeoff(small, tmp_path / "run", overwrite=True)
    assert again.results == whole.results


@pytest.mark.slow
def test_noise_on_some_parameters_promises_nothing(config, tmp_path):
    grid = {"parameter_noise": (5.0,)}
    some = dataclasses.replace(
        config,
        tradeoff=TradeoffConfig(grid=grid, draws=2, sensitivity_draws=3),
        parameter_noise=ParameterNoiseConfig(parameters="^head/bias$"),
    )
    found = tradeoff(some, tmp_path / "run")
    assert found.privacy == []
    everywhere = dataclasses.replace(some, parameter_noise=ParameterNoiseConfig())
    told = tradeoff(everywhere, tmp_path / "all")
    accuracy = [
        next(row["train_accuracy"] for row in rows.utility if row["defence"] == "parameter_noise")
        for rows in (found, told)
    ]
    assert accuracy[0] != accuracy[1]
    assert len(told.privacy) == 2


def test_an_empty_grid_is_refused(config, tmp_path):
    with pytest.raises(ConfigError, match=r"config\.tradeoff\.grid is empty"):
        tradeoff(dataclasses.replace(config, tradeoff=TradeoffConfig()), tmp_path / "run")


@pytest.mark.slow
def test_it_writes_its_page(finished, tmp_path):
    page = write_tradeoff(finished[0], tmp_path).read_text()
    for word in ("l2", "dp_sgd", "parameter_noise"):
        assert word in page or word.replace("_", " ") in page
