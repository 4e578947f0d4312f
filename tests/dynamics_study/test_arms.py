"""The runs of a study of dynamics: every combination of levels, in order, each a study of its own."""

import itertools

import pytest

from mia_jax.config import Config, ConfigError, DynamicsConfig, FamilyConfig, MembershipConfig, to_mapping
from mia_jax.dynamics_study.arms import runs

FACTORS = {
    "data": {
        "plain": {},
        "noisy": {"data": {"source": "synthetic:gaussian,classes=3"}},
        "long": {"data": {"pool_size": 500}},
    },
    "optimizer": {"sgd": {"training": {"optimizer": "sgd"}}, "sam": {"training": {"sam_radius": 0.05}}},
}


def study(factors, **fields):
    return Config(
        name="study",
        families={"net": FamilyConfig(kind="mlp", hidden=7, layers=2)},
        dynamics=DynamicsConfig(factors=factors, show=3),
        **fields,
    )


def refusal(factors):
    with pytest.raises(ConfigError) as caught:
        runs(study(factors))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_factors_the_study_is_its_own_only_run():
    config = study({})
    (run,) = runs(config)
    assert run.config is config
    assert run.levels == {}
    assert run.name == ""


def test_every_combination_is_a_run_the_last_factor_varied_first():
    found = runs(study(FACTORS))
    expected = list(itertools.product(("plain", "noisy", "long"), ("sgd", "sam")))
    assert [tuple(run.levels.values()) for run in found] == expected
    assert all(list(run.levels) == ["data", "optimizer"] for run in found)
    assert [run.name for run in found] == [f"{a}_{b}" for a, b in expected]
    turned = runs(study(dict(reversed(FACTORS.items()))))
    assert [run.name for run in turned] == [
        f"{b}_{a}" for b, a in itertools.product(("sgd", "sam"), ("plain", "noisy", "long"))
    ]


def test_a_run_has_what_its_levels_change_and_all_else_as_the_study():
    config = study(FACTORS, seed=9)
    for run in runs(config):
        changed = {
            ("data", "source"): ("data", "noisy", "synthetic:gaussian,classes=3"),
            ("data", "pool_size"): ("data", "long", 500),
            ("training", "optimizer"): ("optimizer", "sgd", "sgd"),
            ("training", "sam_radius"): ("optimizer", "sam", 0.05),
        }
        expected = to_mapping(config)
        expected["dynamics"]["factors"] = {}
        for (section, field), (factor, level, value) in changed.items():
            if run.levels[factor] == level:
                expected[section][field] = value
        assert to_mapping(run.config) == expected


def test_a_later_factor_has_the_last_word():
    wide = {"families": {"net": {"hidden": 20}}}
    both = {"families": {"net": {"hidden": 30, "layers": 3}}}
    (run,) = runs(study({"width": {"wide": wide}, "depth": {"deep": both}}))
    assert run.config.families == {"net": FamilyConfig(kind="mlp", hidden=30, layers=3)}
    (run,) = runs(study({"depth": {"deep": both}, "width": {"wide": wide}}))
    assert run.config.families == {"net": FamilyConfig(kind="mlp", hidden=20, layers=3)}


def test_a_level_may_need_a_factor_before_it():
    """Only the whole of the levels up to it must be a study: a train_size for a pool that came before."""
    size = {"size": {"large": {"data": {"pool_size": 2000}}}}
    share = {"share": {"half": {"membership": {"train_size": 1000}}}}
    (run,) = runs(study({**size, **share}))
    assert run.config.membership.train_size == 1000
    with pytest.raises(ConfigError, match=r"^config\.dynamics\.factors\.share\.half: .*pool_size, 400"):
        runs(study({**share, **size}))


def test_a_name_is_that_of_one_run():
    twice = {"a": {"x": {}, "x_y": {}}, "b": {"y_z": {}, "z": {}}}
    assert refusal(twice) == (
        "config.dynamics.factors gives two runs the name 'x_y_z': levels must differ when joined by underscores."
    )
    assert len(runs(study({"a": {"x": {}, "xy": {}}, "b": {"y_z": {}, "z": {}}}))) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"sam": 0.1}}, "config.training.sam does not exist"),
        ({"training": {"sam_radius": -1.0}}, "config.training.sam_radius is -1.0: it must be at least 0."),
        ({"trainings": {"epochs": 3}}, "config.trainings does not exist"),
        ({"training": 3}, "config.training is 3: it must be an object"),
        ({"membership": {"train_size": 400}}, "config.membership.train_size is 400: it must be below"),
        ({"families": {}}, "config.families is empty"),
    ],
)
def test_a_level_that_cannot_be_run_is_named(changes, words):
    factors = {"data": FACTORS["data"], "bad": {"good": {}, "worse": changes}}
    assert refusal(factors).startswith(f"config.dynamics.factors.bad.worse: {words}")


def test_runs_are_those_of_the_models_the_study_asks_for():
    """What the study itself is, its runs are: names, seeds and sizes stay."""
    config = study(FACTORS, seed=3, membership=MembershipConfig(num_models=48))
    assert {run.config.membership.num_models for run in runs(config)} == {48}
    assert {(run.config.seed, run.config.name) for run in runs(config)} == {(3, "study")}


@pytest.mark.parametrize("level", ["arms", "records", "figures", "early_warning", "lock"])
def test_a_run_never_takes_the_place_of_what_the_study_writes(level):
    assert refusal({"optimizer": {level: {}}}) == (
        f"config.dynamics.factors gives a run the name '{level}', under which the study writes something "
        "else; name the level otherwise."
    )


@pytest.mark.parametrize("section", ["dynamics", "report", "name"])
def test_levels_leave_alone_what_is_the_studys(section):
    assert f"config.dynamics.factors.how.b changes {section}: " in refusal(
        {"how": {"a": {}, "b": {section: {}}}}
    )
