"""The configuration: every mistake is one sentence naming field and value; nothing is lost on the way."""

import dataclasses
import json

import pytest
from ml_collections import ConfigDict

from mia_jax import config as configs
from mia_jax.config import (
    AttacksConfig,
    Config,
    ConfigError,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    ReportConfig,
    TrainingConfig,
    checkpoint_epochs,
)

CHANGED = Config(
    name="other",
    seed=7,
    data=DataConfig(source="npz:a.npz", kind="features", pool_size=100, standardize=False),
    membership=MembershipConfig(num_models=8, train_size=50, design="paired"),
    families={"small": FamilyConfig(kind="gru", hidden=5, steps=4), "b": FamilyConfig(match="small")},
    training=TrainingConfig(epochs=9, batch_size=8, learning_rate=1e-5, schedule="cosine"),
    recording=RecordingConfig(epochs=(0, 3, 9), logits="all"),
    attacks=AttacksConfig(names=("loss",), rmia_gamma=2.0),
    report=ReportConfig(confidence=0.9, fpr=(0.5,)),
)


def refusal(values):
    """The sentence with which nested plain values are refused."""
    with pytest.raises(ConfigError) as caught:
        configs.from_mapping(values)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 300
    return sentence


def at(path, value):
    """Nested mappings that hold `value` at a dotted path."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("sede", "config has name, seed, data, membership, families, training, recording, attacks, report"),
        ("data.pool", "config.data has source, kind, pool_size"),
        ("membership.models", "config.membership has num_models, train_size, design"),
        ("training.lr", "config.training has epochs, batch_size, optimizer"),
        ("recording.at", "config.recording has spacing, num_checkpoints, epochs"),
        ("attacks.list", "config.attacks has names, rmia_gamma, rmia_offline_scale"),
        ("report.alpha", "config.report has confidence, fpr"),
        ("families.lstm.width", "config.families.lstm has kind, hidden, layers"),
    ],
)
def test_unknown_fields_are_refused_with_those_that_exist(path, known):
    sentence = refusal(at(path, 1))
    assert sentence.startswith(f"config.{path} does not exist: {known}")


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("seed", "1", "a whole number"),
        ("seed", True, "a whole number"),
        ("seed", 1.0, "a whole number"),
        ("seed", None, "a whole number"),
        ("seed", [1], "a whole number"),
        ("name", 3, "a string"),
        ("training.epochs", True, "a whole number"),
        ("training.epochs", 2.5, "a whole number"),
        ("training.learning_rate", "0.1", "a number"),
        ("training.learning_rate", True, "a number"),
        ("data.standardize", 1, "a boolean"),
        ("data.source", False, "a string"),
        ("data", 3, "an object"),
        ("families", [], "an object"),
        ("families.lstm", "lstm", "an object"),
        ("families.lstm.dropout", "no", "a number"),
        ("report.fpr", 0.1, "a list of values, as in (1, 2)"),
        ("attacks.names", "loss", "a list of values, as in (1, 2)"),
    ],
)
def test_values_of_the_wrong_type_are_refused(path, value, allowed):
    assert refusal(at(path, value)) == f"config.{path} is {value!r}: it must be {allowed}."


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("seed", -1, "at least 0"),
        ("data.pool_size", 3, "at least 4"),
        ("data.population_size", 0, "at least 1"),
        ("membership.num_models", 3, "at least 4"),
        ("membership.train_size", 0, "at least 1"),
        ("families.lstm.hidden", 0, "at least 1"),
        ("families.lstm.dropout", 1.0, "below 1"),
        ("families.lstm.dropout", -0.1, "at least 0"),
        ("training.learning_rate", 0.0, "above 0"),
        ("training.learning_rate", float("nan"), "a finite number"),
        ("training.learning_rate", float("inf"), "a finite number"),
        ("training.momentum", 1.0, "below 1"),
        ("training.weight_decay", -1.0, "at least 0"),
        ("attacks.rmia_gamma", 0.0, "above 0"),
        ("attacks.rmia_offline_scale", 1.5, "at most 1"),
        ("report.confidence", 1.0, "below 1"),
        ("report.confidence", 0.0, "above 0"),
    ],
)
def test_values_out_of_range_are_refused(path, value, allowed):
    assert refusal(at(path, value)) == f"config.{path} is {value!r}: it must be {allowed}."


@pytest.mark.parametrize(
    ("path", "value", "known"),
    [
        ("data.kind", "words", "'auto', 'features' or 'tokens'"),
        ("membership.design", "half", "'fixed_size', 'paired' or 'bernoulli'"),
        ("families.lstm.kind", "vit", "'mlp', 'rnn', 'lstm', 'gru', 'cnn' or 'renet'"),
        ("training.optimizer", "Adam", "'sgd', 'momentum', 'adam' or 'adamw'"),
        ("training.schedule", "step", "'constant', 'cosine' or 'linear'"),
        ("training.order", "sorted", "'shuffle' or 'fixed'"),
        ("training.matmul_precision", "low", "'default', 'high', 'highest', 'bfloat16' or 'tensorfloat32'"),
        ("recording.spacing", "even", "'linear' or 'log'"),
        ("recording.parameters", "some", "'none', 'final' or 'all'"),
    ],
)
def test_unknown_choices_are_refused_with_those_that_exist(path, value, known):
    assert refusal(at(path, value)) == f"config.{path} is {value!r}: it must be {known}."


def test_members_of_lists_are_named_with_their_list():
    assert refusal(at("report.fpr", [0.1, 2.0])) == "config.report.fpr holds 2.0: it must be below 1."
    assert refusal(at("attacks.names", ["loss", "lira"])).startswith("config.attacks.names holds 'lira': ")
    assert refusal(at("recording.epochs", [True])).startswith("config.recording.epochs holds True: ")


SMALL = {"data": {"pool_size": 20}, "membership": {"train_size": 10}, "training": {"batch_size": 5}}
A_FAMILY = "'b': it must name a family of its own size, one of ['c']"


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("membership", {"train_size": 20}, "train_size is 20: it must be below config.data.pool_size, 20"),
        ("training", {"batch_size": 11}, "batch_size is 11: it must not exceed config.membership.train_size"),
        (
            "membership",
            {"design": "paired", "num_models": 5},
            'num_models is 5: the "paired" design needs an',
        ),
        (
            "membership",
            {"design": "paired", "train_size": 9},
            'train_size is 9: the "paired" design needs exac',
        ),
        (
            "training",
            {"epochs": 3, "warmup_epochs": 3},
            "warmup_epochs is 3: it must be below config.training",
        ),
        ("recording", {"epochs": [60, 60]}, "epochs is (60, 60): it must rise strictly and end with"),
        (
            "recording",
            {"epochs": [61]},
            "epochs is (61,): it must rise strictly and end with config.training",
        ),
        ("recording", {"epochs": [3]}, "epochs is (3,): it must rise strictly and end with config.training"),
        (
            "recording",
            {"signals": ["step_logits"] * 2},
            "signals is ('step_logits', 'step_logits'): give each",
        ),
        ("recording", {"queries": ["flip", "flip"]}, "queries is ('flip', 'flip'): give each value once"),
        ("attacks", {"names": []}, "names is (): give at least one value, each once"),
        ("attacks", {"names": ["loss"] * 2}, "names is ('loss', 'loss'): give at least one value, each once"),
        ("report", {"fpr": [0.1, 0.1]}, "fpr is (0.1, 0.1): give at least one value, each once"),
        ("families", {"a": {"match": "b"}, "c": {}}, f"a.match is {A_FAMILY}"),
        ("families", {"a": {"match": "a"}, "c": {}}, f"a.match is {A_FAMILY.replace('b', 'a', 1)}"),
        ("families", {"a": {"match": "b"}, "b": {"match": "c"}, "c": {}}, f"a.match is {A_FAMILY}"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(section, changes, said):
    values = {**SMALL, section: {**SMALL.get(section, {}), **changes}}
    assert refusal(values).startswith(f"config.{section}.{said}")


def test_families_need_names_that_can_be_files_and_at_least_one():
    assert refusal({"families": {}}) == "config.families is empty: name at least one family."
    assert refusal({"families": {"a-b": {}}}).startswith("config.families has the name 'a-b': ")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{\n\n"])
def test_text_that_is_no_config_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        configs.from_json(text)
    assert str(caught.value).startswith(
        f"config is {json.loads(text)!r}" if text in "[]3" and text else "config is '"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Config(membership=MembershipConfig(train_size=500)),
        lambda: dataclasses.replace(Config(), seed=-1),
        lambda: TrainingConfig(epochs=True),
        lambda: TrainingConfig(optimiser="adam"),
    ],
    ids=["cross-field", "replace", "type", "unknown"],
)
def test_mistakes_in_python_are_config_errors_too(make):
    with pytest.raises(ConfigError) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [2**32, 2**63])
def test_seeds_that_jax_would_fold_onto_others_are_refused(seed):
    assert refusal({"seed": seed}).startswith(f"config.seed is {seed}: ")


@pytest.mark.parametrize("config", [Config(), CHANGED], ids=["default", "changed"])
def test_a_config_comes_back_from_json_mappings_and_config_dicts(config):
    assert configs.from_json(configs.to_json(config)) == config
    assert configs.from_mapping(configs.to_mapping(config)) == config
    assert configs.from_config_dict(configs.to_config_dict(config)) == config
    assert configs.digest(configs.from_json(configs.to_json(config))) == configs.digest(config)
    assert list(configs.from_json(configs.to_json(config)).families) == list(config.families)


def test_a_config_dict_takes_changes_by_flag_but_no_new_fields():
    values = configs.to_config_dict(Config())
    assert isinstance(values, ConfigDict)
    values.training.epochs = 12
    assert configs.from_config_dict(values).training.epochs == 12
    with pytest.raises(AttributeError):
        values.training.epoch = 12


def test_names_with_commas_between_them_are_lists_as_flags_have_them():
    values = configs.to_config_dict(Config())
    values.attacks.names = ("loss,lira_online", "rmia_online")
    values.tradeoff.grid = {"l2": (0.1, 0.2)}
    read = configs.from_config_dict(values)
    assert read.attacks.names == ("loss", "lira_online", "rmia_online")
    assert read.tradeoff.grid == {"l2": (0.1, 0.2)}


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 3


@pytest.mark.parametrize(
    ("epochs", "recording", "expected"),
    [
        (60, RecordingConfig(), (10, 20, 30, 40, 50, 60)),
        (10, RecordingConfig(num_checkpoints=1), (10,)),
        (10, RecordingConfig(num_checkpoints=3), (3, 7, 10)),
        (3, RecordingConfig(num_checkpoints=9), (1, 2, 3)),
        (1, RecordingConfig(num_checkpoints=4), (1,)),
        (64, RecordingConfig(num_checkpoints=7, spacing="log"), (1, 2, 4, 8, 16, 32, 64)),
        (100, RecordingConfig(num_checkpoints=3, spacing="log"), (1, 10, 100)),
        (5, RecordingConfig(num_checkpoints=20, spacing="log"), (1, 2, 3, 4, 5)),
        (10, RecordingConfig(num_checkpoints=1, spacing="log"), (10,)),
        (7, RecordingConfig(epochs=(0, 2, 7)), (0, 2, 7)),
    ],
)
def test_checkpoints_are_placed_over_the_epochs(epochs, recording, expected):
    config = Config(training=TrainingConfig(epochs=epochs), recording=recording)
    assert checkpoint_epochs(config) == expected


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_digests_differ_under_any_changed_leaf_and_not_under_the_order_of_keys():
    values = configs.to_mapping(Config())
    seen = {configs.digest(values)}
    for path, value in leaves(values):
        changed = json.loads(json.dumps(values))
        section = changed
        for part in path[:-1]:
            section = section[part]
        section[path[-1]] = [value, "changed"]
        seen.add(configs.digest(changed))
    assert len(seen) == 1 + sum(1 for _ in leaves(values))
    backwards = {key: values[key] for key in reversed(values)}
    backwards["training"] = dict(reversed(values["training"].items()))
    assert configs.digest(backwards) == configs.digest(values) == configs.digest(Config())


def test_digests_do_not_depend_on_how_a_number_was_written():
    one, other = (configs.from_mapping(at("training.learning_rate", value)) for value in (1, 1.0))
    assert configs.digest(one) == configs.digest(other)


def test_what_is_no_mapping_and_no_config_dict_is_refused():
    with pytest.raises(ConfigError, match=r"^config is a list: it must be a mapping from fields to values"):
        configs.from_mapping([1])
    with pytest.raises(
        ConfigError, match=r"^config is a dict: it must be a ConfigDict, .* take from_mapping"
    ):
        configs.from_config_dict({})
