"""Studies with defences: from the config to what is trained, resumed, promised and refused."""

import csv
import json

import numpy as np
import pytest

from mia_jax import study
from mia_jax.config import Config, ConfigError, DataConfig, DpSgdConfig, from_mapping, to_mapping
from mia_jax.privacy import epsilon
from mia_jax.runs import run_directory
from mia_jax.study.privacy import question


@pytest.fixture(scope="module")
def private(small_config, change):
    """The small study with DP-SGD and canaries."""
    config = change(small_config, "dp_sgd", DpSgdConfig(epsilon=6.0))
    config = change(config, "recording.parameters", "all")
    config = change(config, "canaries.kind", "out_of_distribution")
    return change(config, "canaries.count", 4)


@pytest.fixture(scope="module")
def private_run(private, tmp_path_factory):
    run = study.train(private, tmp_path_factory.mktemp("private") / "run")
    study.attack(run)
    return run


def test_the_noise_is_solved_for_the_target_and_written_down(private_run, private):
    config = json.loads((private_run.path / "config.json").read_text())
    assert config["noise_multiplier"] == private_run.noise_multiplier > 0
    # 20 members and 4 canaries in batches of 8: three steps in each of six epochs.
    found = epsilon(
        num_examples=24, batch_size=8, steps=18, noise_multiplier=private_run.noise_multiplier, delta=1e-5
    )
    assert 5.9 < found <= 6.0
    assert run_directory.kept_noise(private_run.path, question(private)) == private_run.noise_multiplier


@pytest.mark.slow
def test_an_interrupted_private_training_goes_on_bit_for_bit(
    private, private_run, all_numbers, tmp_path, monkeypatch
):
    whole = all_numbers(private_run)

    class StopError(Exception):
        pass

    written = []
    write = run_directory.Segments.write

    def write_three(self, segment, **options):
        if len(written) == 3:
            raise StopError
        written.append(segment)
        write(self, segment, **options)

    monkeypatch.setattr(run_directory.Segments, "write", write_three)
    with pytest.raises(StopError):
        study.train(private, tmp_path / "run")
    monkeypatch.undo()
    # It goes on with the noise that it began with, whatever an accountant would say now.
    monkeypatch.setattr("mia_jax.privacy.accounting.noise_multiplier", lambda **_: 99.0)
    resumed = study.train(private, tmp_path / "run")
    found = all_numbers(resumed)
    assert found.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values, err_msg=str(name))


def test_a_report_says_what_is_promised_beside_what_is_proven(private_run):
    study.report(private_run)
    with (private_run.path / "privacy.csv").open() as file:
        rows = {row["relation"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"add-or-remove", "replace-one"}
    assert 5.9 < float(rows["add-or-remove"]["epsilon"]) <= 6.0 < float(rows["replace-one"]["epsilon"])
    assert "delta 1e-05" in rows["replace-one"]["meaning"]
    page = (private_run.path / "report.html").read_text()
    assert "What the defences promise" in page
    with (private_run.path / "audit.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["relation"] == "add-or-remove"
            assert float(row["epsilon"]) <= 6.0


@pytest.mark.slow
def test_a_run_begun_anew_solves_for_its_own_noise(private, private_run, change, tmp_path):
    run = study.train(private, tmp_path / "run")
    smaller = change(private, "membership.design", "fixed_size")
    smaller = change(change(smaller, "membership.train_size", 12), "membership.num_models", 24)
    smaller = change(smaller, "attacks.names", ("loss",))
    again = study.train(smaller, tmp_path / "run", overwrite=True)
    assert again.noise_multiplier > 1.1 * run.noise_multiplier == 1.1 * private_run.noise_multiplier


def test_defences_are_part_of_a_runs_identity(private, private_run, change):
    other = change(private, "dp_sgd.clip_norm", 0.5)
    with pytest.raises(
        run_directory.RunError, match=r"config\.dp_sgd\.clip_norm is 1\.0 there and 0\.5 here"
    ):
        study.train(other, private_run.path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dp_sgd": {"epsilon": 1.0, "noise_multiplier": 1.0}}, "give one of them"),
        ({"dp_sgd": {"sampling": "truncated_poisson", "max_batch": 3}}, "max_batch is 3: .* at least .* 32"),
        ({"dp_sgd": {"max_batch": 64}}, 'only sampling "truncated_poisson" cuts'),
        ({"dp_sgd": {"epsilon": 1.0}, "training": {"order": "fixed"}}, 'order is "fixed"'),
        (
            {"regularization": {"parameters": "("}},
            r"config\.regularization\.parameters is '\(': .* regular expr",
        ),
        ({"tradeoff": {"grid": {"l2": ()}}}, r"grid\.l2 is \(\): give at least one strength"),
        ({"tradeoff": {"grid": {"early_stopping": (2.5,)}}}, "early_stopping holds 2.5: .* whole epoch"),
        ({"tradeoff": {"grid": {"l3": (1.0,)}}}, "l3"),
        ({"tradeoff": {"seeds": (1, 1)}}, r"config\.tradeoff\.seeds is \(1, 1\)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(changes, sentence):
    values = to_mapping(Config())
    for section, fields in changes.items():
        values[section] |= fields
    with pytest.raises(ConfigError, match=sentence):
        from_mapping(values)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "regularization.parameters",
            "recurrent",
            r"config\.regularization\.parameters is 'recurrent': no param.*mlp",
        ),
        ("parameter_noise.parameters", "lstm", r"config\.parameter_noise\.parameters is 'lstm'"),
        (
            "dp_sgd",
            DpSgdConfig(epsilon=1.0, accountant="rdp", sampling="truncated_poisson", max_batch=9),
            "rdp",
        ),
    ],
)
def test_what_the_families_or_the_accountant_cannot_do_is_refused_before_any_work(
    small_config, change, tmp_path, path, value, sentence
):
    with pytest.raises(ConfigError, match=sentence):
        study.train(change(small_config, path, value), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_token_ids_cannot_be_trained_on_adversarially(small_config, change, tmp_path):
    data = DataConfig(source="synthetic:markov", pool_size=40, population_size=30, test_size=20)
    config = change(change(small_config, "data", data), "adversarial.radius", 0.1)
    with pytest.raises(ConfigError, match=r"config\.adversarial\.radius is 0\.1: .* token ids"):
        study.train(config, tmp_path / "run")


@pytest.mark.slow
def test_every_defence_together_trains_and_reports(small_config, change, tmp_path):
    config = small_config
    for path, value in {
        "regularization.l2": 1e-3,
        "regularization.l1": 1e-4,
        "regularization.label_smoothing": 0.1,
        "label_privacy.epsilon": 2.0,
        "label_privacy.mechanism": "rr_with_prior",
        "adversarial.radius": 0.1,
        "parameter_noise.sigma": 0.01,
        "dp_sgd.noise_multiplier": 0.5,
        "dp_sgd.sampling": "shuffle",
        "recording.num_checkpoints": 1,
    }.items():
        config = change(config, path, value)
    said = []

    class Tell(study.training.Silent):
        def say(self, text):
            said.append(text)

    run = study.train(config, tmp_path / "run", tell=Tell())
    assert "defences: l2, l1, label_smoothing, label_privacy, adversarial, dp_sgd, parameter_noise" in said
    study.attack(run)
    inputs = study.report(run)
    assert [(row["defence"], row["unit"]) for row in inputs.promises] == [
        ("dp_sgd", "record"),
        ("dp_sgd", "record"),
        ("label_privacy", "label"),
    ]
