"""Scales of a study, changes laid over a config, names in their order, and the section on dynamics."""

import dataclasses
import json

import pytest
from absl import flags
from ml_collections import config_flags

from mia_jax import config as configs
from mia_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    DynamicsConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
)
from mia_jax.config.translation import scaled
from mia_jax.runs.identity import MAY_DIFFER, RunError, check_same, family_hash

FACTORS = {
    "optimizer": {"sgd": {}, "sam": {"training": {"sam_radius": 0.05}}, "adam": {}},
    "architecture": {"wide": {"families": {"z": {"hidden": 64}}}, "narrow": {}},
    "data": {"b": {}, "a": {"data": {"source": "digits"}}},
}
STUDY = Config(
    name="study",
    data=DataConfig(pool_size=100, population_size=50),
    membership=MembershipConfig(num_models=8, train_size=50),
    families={"z": FamilyConfig(hidden=5), "a": FamilyConfig(match="z"), "m": FamilyConfig(kind="lstm")},
    training=TrainingConfig(epochs=10, learning_rate=0.5),
    recording=RecordingConfig(epochs=(0, 5, 10)),
    dynamics=DynamicsConfig(factors=FACTORS),
    scales={
        "tiny": {"training": {"epochs": 2}, "recording": {"epochs": [0, 2]}},
        "large": {
            "data": {"pool_size": 400},
            "membership": {"train_size": 200, "num_models": 64},
            "families": {"z": {"hidden": 50}, "new": {"kind": "gru"}},
        },
        "broken": {"training": {"epoch": 2}},
        "contradicting": {"training": {"epochs": 3}},
    },
)


def refused(call):
    """The sentence with which a call is refused."""
    with pytest.raises(ConfigError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def at_scale(name):
    return scaled(dataclasses.replace(STUDY, scale=name))


# Scales


def test_the_default_scale_is_the_config():
    assert scaled(STUDY) is STUDY
    assert configs.from_config_dict(configs.to_config_dict(STUDY)) == STUDY


def test_a_scale_changes_what_it_names_and_nothing_else():
    plain = configs.to_mapping(dataclasses.replace(STUDY, scales={}))
    expected = json.loads(json.dumps(plain))
    expected["training"]["epochs"], expected["recording"]["epochs"] = 2, [0, 2]
    assert json.loads(configs.to_json(at_scale("tiny"))) == expected
    large = at_scale("large")
    assert (large.data.pool_size, large.data.population_size) == (400, 50)
    assert (large.membership.train_size, large.membership.num_models) == (200, 64)
    assert large.families == {
        "z": FamilyConfig(hidden=50),
        "a": FamilyConfig(match="z"),
        "m": FamilyConfig(kind="lstm"),
        "new": FamilyConfig(kind="gru"),
    }
    assert (large.scale, large.scales) == ("default", {})


def test_a_scaled_config_is_the_study_written_out():
    """What it came from leaves no trace in what decides a run."""
    written = dataclasses.replace(
        STUDY,
        training=dataclasses.replace(STUDY.training, epochs=2),
        recording=dataclasses.replace(STUDY.recording, epochs=(0, 2)),
        scales={},
    )
    assert at_scale("tiny") == written
    assert configs.digest(at_scale("tiny")) == configs.digest(written)


def test_a_scale_is_asked_for_by_the_field():
    values = configs.to_config_dict(STUDY)
    values.scale = "large"
    assert configs.from_config_dict(values) == at_scale("large")
    values.training.learning_rate = 0.25
    assert configs.from_config_dict(values).training.learning_rate == 0.25


@pytest.mark.parametrize("name", ["huge", "", "Tiny"])
def test_an_unknown_scale_is_refused_with_those_that_exist(name):
    assert refused(lambda: at_scale(name)) == (
        f"config.scale is {name!r}: it must be one of 'default', 'tiny', 'large', 'broken', 'contradicting'."
    )


def test_a_scale_that_makes_no_study_is_refused_when_it_is_asked_for():
    assert refused(lambda: at_scale("broken")).startswith("config.training.epoch does not exist: ")
    assert refused(lambda: at_scale("contradicting")).startswith("config.recording.epochs is (0, 5, 10): ")


# Changes laid over a config


def test_changes_are_laid_over_nested_fields():
    changed = configs.with_changes(STUDY, {"seed": 4, "training": {"epochs": 10, "sam_radius": 0.1}})
    expected = dataclasses.replace(
        STUDY, seed=4, training=TrainingConfig(epochs=10, learning_rate=0.5, sam_radius=0.1)
    )
    assert changed == expected
    assert configs.with_changes(STUDY, {}) == STUDY
    assert STUDY.training.sam_radius == 0.0


def test_named_things_that_are_not_changed_stay():
    changed = configs.with_changes(STUDY, {"families": {"m": {"layers": 2}}})
    assert changed.families == STUDY.families | {"m": FamilyConfig(kind="lstm", layers=2)}
    more = configs.with_changes(STUDY, {"dynamics": {"factors": {"new": {"x": {}}, "data": {"c": {}}}}})
    factors = more.dynamics.factors
    assert list(factors) == ["optimizer", "architecture", "data", "new"]
    assert list(factors["data"]) == ["b", "a", "c"]
    assert factors["optimizer"] == FACTORS["optimizer"]


def test_a_change_to_nothing_at_all_empties():
    assert configs.with_changes(STUDY, {"dynamics": {"factors": {}}}).dynamics.factors == {}
    assert configs.with_changes(STUDY, {"scales": {}}).scales == {}
    grid = configs.with_changes(STUDY, {"tradeoff": {"grid": {"l2": [0.1]}}})
    assert configs.with_changes(grid, {"tradeoff": {"grid": {}}}).tradeoff.grid == {}
    assert refused(lambda: configs.with_changes(STUDY, {"families": {}})).startswith("config.families is emp")


def test_a_list_is_changed_as_a_whole():
    assert configs.with_changes(STUDY, {"recording": {"epochs": [10]}}).recording.epochs == (10,)
    assert configs.with_changes(STUDY, {"attacks": {"names": ("loss",)}}).attacks.names == ("loss",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainings": {}}, "config.trainings does not exist: config has name, seed, data"),
        ({"training": {"lr": 0.1}}, "config.training.lr does not exist: config.training has epochs"),
        ({"training": {"epochs": "3"}}, "config.training.epochs is '3': it must be a whole number"),
        ({"training": 3}, "config.training is 3: it must be an object"),
        ({"training": {"epochs": {"a": 3}}}, "config.training.epochs is {'a': 3}: it must be a whole"),
        ({"families": {"z": {"width": 3}}}, "config.families.z.width does not exist: "),
        ({"membership": {"train_size": 100}}, "config.membership.train_size is 100: it must be below"),
    ],
)
def test_changes_that_make_no_config_are_refused(changes, words):
    assert refused(lambda: configs.with_changes(STUDY, changes)).startswith(words)


# Names in their order, and flags


def in_order(values):
    """Nested mappings as lists of pairs, so that another order is another value."""
    return [(name, in_order(value)) for name, value in values.items()] if isinstance(values, dict) else values


def test_names_keep_their_order_through_a_config_dict():
    assert list(STUDY.families) == ["z", "a", "m"] != sorted(STUDY.families)
    found = configs.from_config_dict(configs.to_config_dict(STUDY))
    assert in_order(configs.to_mapping(found)) == in_order(configs.to_mapping(STUDY))
    assert list(configs.to_config_dict(STUDY)) == [field.name for field in dataclasses.fields(Config)]


def test_names_keep_their_order_through_json_and_scales():
    for config in (configs.from_json(configs.to_json(STUDY)), at_scale("tiny")):
        assert list(config.families) == ["z", "a", "m"]
        assert list(config.dynamics.factors) == ["optimizer", "architecture", "data"]
        assert list(config.dynamics.factors["optimizer"]) == ["sgd", "sam", "adam"]


@pytest.fixture
def from_flags(monkeypatch):
    """The config that flags make of STUDY."""

    def parse(*given):
        monkeypatch.setattr("sys.argv", ["program", *given])  # where config flags are looked for
        values = flags.FlagValues()
        config_flags.DEFINE_config_dict("config", configs.to_config_dict(STUDY), flag_values=values)
        values(["program", *given])
        return configs.from_config_dict(values.config)

    return parse


def test_flags_reach_into_factors_families_and_scales(from_flags):
    assert from_flags() == STUDY
    found = from_flags(
        "--config.dynamics.factors.optimizer.sam.training.sam_radius=0.1",
        "--config.dynamics.cuts=(0.1,0.4,0.7)",
        "--config.families.m.hidden=11",
        "--config.scales.tiny.training.epochs=4",
        "--config.training.sam_radius=0.2",
        "--config.data.image_size=6",
        "--config.membership.without=some.json",
    )
    assert found.dynamics.factors["optimizer"] == {
        "sgd": {},
        "sam": {"training": {"sam_radius": 0.1}},
        "adam": {},
    }
    assert found.dynamics.cuts == (0.1, 0.4, 0.7)
    assert found.families["m"] == FamilyConfig(kind="lstm", hidden=11)
    assert found.scales["tiny"]["training"] == {"epochs": 4}
    assert (found.training.sam_radius, found.data.image_size) == (0.2, 6)
    assert found.membership.without == "some.json"
    assert list(found.dynamics.factors) == list(FACTORS)
    assert list(found.families) == ["z", "a", "m"]


def test_a_scale_by_flag_has_the_flags_beside_it(from_flags):
    found = from_flags("--config.scale=tiny", "--config.training.learning_rate=0.125")
    assert (found.training.epochs, found.training.learning_rate) == (2, 0.125)
    assert found.recording.epochs == (0, 2)
    assert refused(lambda: from_flags("--config.scale=small")).startswith("config.scale is 'small': ")
    other = from_flags("--config.scale=large", "--config.scales.large.membership.num_models=12")
    assert other.membership.num_models == 12


def test_flags_name_no_level_that_is_not_there(from_flags):
    with pytest.raises(Exception, match="sharp"):
        from_flags("--config.dynamics.factors.optimizer.sharp.training.sam_radius=0.1")


# The section on dynamics


def dynamics(**fields):
    return lambda: configs.from_mapping({"dynamics": fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cuts": []}, "cuts is (): give at least one vulnerability in (-1, 1], rising"),
        ({"cuts": [0.5, 0.2]}, "cuts is (0.5, 0.2): give at least one vulnerability in (-1, 1], rising"),
        ({"cuts": [0.2, 0.2]}, "cuts is (0.2, 0.2): give at least"),
        ({"cuts": [0.2, 1.1]}, "cuts is (0.2, 1.1): give at least"),
        ({"cuts": [-1.0, 0.2]}, "cuts is (-1.0, 0.2): give at least"),
        ({"bins": []}, "bins is (): give at least one number, each once"),
        ({"bins": [20, 10, 20]}, "bins is (20, 10, 20): give at least one number, each once"),
        ({"bins": [0]}, "bins holds 0: it must be at least 1"),
        ({"attack": "lira"}, "attack is 'lira': there is no such name; the closest are 'lira_"),
        ({"attack": "all"}, 'attack and also_attacks must name attacks; "all" is none'),
        ({"also_attacks": ["loss", "all"]}, 'attack and also_attacks must name attacks; "all" is none'),
        ({"attack": "loss"}, "attack is 'loss' and config.dynamics.fpr is 0: only lira_online and its"),
        ({"attack": "lira_offline"}, "attack is 'lira_offline' and config.dynamics.fpr is 0: only"),
        ({"fpr": 1.0}, "fpr is 1.0: it must be below 1"),
        ({"fpr": -0.1}, "fpr is -0.1: it must be at least 0"),
        ({"also_fpr": [0.0]}, "also_fpr holds 0.0: it must be above 0"),
        ({"splits": 0}, "splits is 0: it must be at least 1"),
        ({"depth_neighbours": -1}, "depth_neighbours is -1: it must be at least 0"),
        ({"early": 1.0}, "early is 1.0: it must be below 1"),
        ({"foretold": 0.0}, "foretold is 0.0: it must be above 0"),
        ({"factors": {"a": {}}}, "factors.a is empty: give it at least one level"),
        ({"factors": {"a-b": {"x": {}}}}, "factors has the name 'a-b': factors and levels are named by"),
        ({"factors": {"a": {"../x": {}}}}, "factors has the name '../x': factors and levels are named"),
        ({"factors": {"a": {"": {}}}}, "factors has the name '': factors and levels are named by"),
        ({"factors": {"a": {"x\n": {}}}}, "factors has the name 'x\\n': factors and levels are named"),
        ({"factors": {"a": {"x": 3}}}, "factors.a.x is 3: it must be "),
        ({"factors": {"a": [1]}}, "factors.a is [1]: it must be "),
        ({"factor": {}}, "factor does not exist: config.dynamics has attack, fpr, also_attacks"),
    ],
)
def test_wrong_fields_of_the_dynamics_are_refused(fields, words):
    said = refused(dynamics(**fields))
    assert said.startswith(f"config.dynamics.{words}")


def test_dynamics_that_can_be_are_taken():
    for fields in (
        {"cuts": [1.0]},
        {"cuts": [-0.5, 0.0, 1.0]},
        {"attack": "loss", "fpr": 0.1},
        {"attack": "lira_online", "also_attacks": [], "also_fpr": []},
        {"attack": "lira_online_queries"},
        {"bins": [1]},
        {"depth_neighbours": 0, "show": 0},
        {"factors": {"größe": {"x_1": {"data": {"pool_size": 500}}}}},
    ):
        dynamics(**fields)()


# What a run may be continued with


def stored(config):
    """What a run directory has of a config."""
    return {"format": 4, "config": json.loads(configs.to_json(config)), "data_fingerprint": "f"}


@pytest.fixture
def same(tmp_path, monkeypatch):
    """Check that a run of STUDY may be continued with another config."""
    from mia_jax.runs import identity

    def check(config, start=STUDY):
        check_same(tmp_path, stored(start) | {"format": identity.FORMAT}, config, "f")

    return check


def test_dynamics_and_scales_are_no_part_of_a_run(same):
    plan = {"models_together": 1}
    for other in (
        dataclasses.replace(STUDY, dynamics=DynamicsConfig(cuts=(0.1,))),
        dataclasses.replace(STUDY, scales={}, scale="nothing"),
        dataclasses.replace(STUDY, dynamics=DynamicsConfig(factors={"new": {"level": {}}})),
    ):
        same(other)
        same(STUDY, other)
        assert family_hash(other, "z", "f", plan) == family_hash(STUDY, "z", "f", plan)
    assert {"dynamics", "scale", "scales"} <= set(MAY_DIFFER)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"sam_radius": 0.1}},
        {"data": {"image_size": 6}},
        {"membership": {"without": "some.json"}},
    ],
)
def test_what_changes_the_models_is_refused_by_name(same, changes):
    ((section, fields),) = changes.items()
    ((field, value),) = fields.items()
    other, plan = configs.with_changes(STUDY, changes), {"models_together": 1}
    with pytest.raises(RunError, match=rf"config\.{section}\.{field} is .* there and {value!r} here"):
        same(other)
    assert family_hash(other, "z", "f", plan) != family_hash(STUDY, "z", "f", plan)
