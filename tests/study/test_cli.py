"""The commands as a person uses them: processes, exit codes and sentences."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]

SMALL = [
    "--config.data.source=synthetic:gaussian,classes=3,features=6",
    "--config.data.pool_size=40",
    "--config.data.population_size=30",
    "--config.data.test_size=20",
    "--config.membership.num_models=8",
    "--config.membership.train_size=20",
    "--config.membership.design=paired",
    "--config.families.lstm.steps=3",
    "--config.families.lstm.hidden=9",
    "--config.families.mlp.layers=1",
    "--config.training.batch_size=8",
    "--config.training.models_per_chunk=4",
]


def start(script, *flags, **options):
    """A script as a process."""
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *map(str, flags)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
        **options,
    )


def finish(process):
    """Exit code, standard output and standard error of a process."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def numbers(workdir):
    """The bytes of every array that a training wrote."""
    files = [p for room in ("signals", "parameters") for p in workdir.glob(f"{room}/**/*") if p.is_file()]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("run", ["--config.training.epoch=3"], "the config has no field 'epoch'. Did you mean 'epochs'?"),
        (
            "run",
            ["--config.training.epochs=many"],
            "--config.training.epochs is 'many': it must be a whole number.",
        ),
        (
            "run",
            ["--config.families.gru.kind=gru"],
            "the config has no field 'gru'. Which families there are stands in the config file: copy one and name it",
        ),
        (
            "run",
            ["--config.data.pool_size=5000"],
            "config.data.pool_size 5000 + population_size 400 + test_size 0 (at least 1) is 5401: 'digits' has 1797",
        ),
        ("run", ["--config=missing.py"], "--config=missing.py: the config cannot be read: no such file"),
        ("train", ["--config.training.epochs=0"], "config.training.epochs is 0: it must be at least 1."),
        ("train", ["--config.data.source=npz:missing.npz"], "there is no file"),
        ("train", ["runs/digits"], "'runs/digits' is not a flag"),
        ("attack", [], "is not a run: "),
        ("attack", ["--atacks=loss"], "Did you mean: attacks"),
        ("report", ["--workdir="], "--workdir is missing"),
    ],
)
def test_what_is_wrong_is_one_sentence(script, flags, words, tmp_path):
    workdir = [] if any(flag.startswith("--workdir") for flag in flags) else [f"--workdir={tmp_path / 'run'}"]
    if words == "is not a run: ":
        words = "does not exist: run scripts/train.py"
    code, out, err = finish(start(script, *workdir, *flags))
    assert code == 2, err
    assert not out
    assert err.startswith("error: "), err
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


A_GET_CONFIG = "from mia_jax.config import from_mapping\n\n\ndef get_config():\n    return "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "it defines no get_config"),
        (A_GET_CONFIG + "{'name': 'mine'}", "get_config() must return a ConfigDict"),
        (
            A_GET_CONFIG + "from_mapping({'seed': -1})",
            "get_config() raised: config.seed is -1: it must be at least 0.",
        ),
    ],
)
def test_what_is_wrong_with_a_config_file_is_one_sentence(text, words, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(text)
    code, _, err = finish(start("run", f"--config={file}", f"--workdir={tmp_path / 'run'}"))
    assert code == 2
    assert err.startswith(f"error: --config={file}: ")
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--fpr=0.1,2", "--fpr holds 2.0: it must be below 1."),
        ("--fpr=", "--fpr is (): give at least one value, each once."),
        ("--confidence=0", "--confidence is 0.0: it must be above 0."),
        ("--rmia_gamma=-1", "--rmia_gamma is -1.0: it must be above 0."),
        ("--attacks=los", "--attacks holds 'los': there is no such name; the closest are 'loss'"),
        ("--seed=-1", "--seed is -1: it must be at least 0."),
        ("--overwrite=maybe", "--overwrite is 'maybe': it must stand alone, or be true or false."),
    ],
)
def test_a_refused_value_is_named_by_the_flag_that_was_typed(flag, words, tmp_path):
    code, _, err = finish(start("attack", "--signals=any.npz", flag, f"--workdir={tmp_path / 'run'}"))
    assert (code, err.startswith(f"error: {words}")) == (2, True), err


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "taken").touch()
    code, _, err = finish(start("run", f"--workdir={tmp_path / 'taken'}"))
    assert (code, "is a file, and no directory: name another --workdir." in err) == (2, True), err


@pytest.mark.parametrize(
    ("script", "workdir"),
    [("run", "runs/default"), ("tradeoff", "runs/tradeoff"), ("dynamics", "runs/dynamics")],
)
def test_every_kind_of_study_has_a_directory_of_its_own(script, workdir):
    out = finish(start(script, "--help"))[1]
    line = next(line for line in out.splitlines() if line.startswith("  --workdir:"))
    assert line.endswith(f"(default: {workdir})")


@pytest.mark.parametrize("script", ["run", "train", "attack", "report"])
def test_help_lists_every_flag(script):
    code, out, _ = finish(start(script, "--help"))
    assert code == 0
    assert "--workdir" in out
    assert ("--config.training.learning_rate=0.003" in out) == (script in ("run", "train"))


@pytest.mark.slow
def test_stages_one_by_one_give_what_run_gives(tmp_path):
    flags = [*SMALL, "--config.training.epochs=2", "--config.recording.num_checkpoints=1"]
    code, out, err = finish(start("run", *flags, f"--workdir={tmp_path / 'one'}"))
    assert code == 0, err
    assert "rmia_online" in out
    for script, given in (("train", flags), ("attack", ["--attacks=loss,lira_offline"]), ("report", [])):
        code, out, err = finish(start(script, *given, f"--workdir={tmp_path / 'two'}"))
        assert code == 0, err
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    for row in (*results[0], *results[1]):
        assert 0 <= row.pop("auc_p_holm") <= 1  # adjusted for as many attacks as were run
    chosen = [row for row in results[0] if row["attack"] in ("loss", "lira_offline")]
    assert chosen == results[1]


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_gives_the_same_bytes(tmp_path):
    flags = [*SMALL, "--config.training.epochs=40", "--config.recording.num_checkpoints=20"]
    code, _, err = finish(start("train", *flags, f"--workdir={tmp_path / 'whole'}"))
    assert code == 0, err
    expected = numbers(tmp_path / "whole")
    waits = np.random.default_rng(0).uniform(3.0, 9.0, size=5)
    interrupted = tmp_path / "killed"
    for wait in waits:
        process = start("train", *flags, f"--workdir={interrupted}")
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, _, err = finish(start("train", *flags, f"--workdir={interrupted}"))
    assert code == 0, err
    assert numbers(interrupted) == expected


@pytest.mark.slow
def test_interrupt_from_the_keyboard_says_how_to_go_on(tmp_path):
    flags = [*SMALL, "--config.training.epochs=40000", "--config.recording.num_checkpoints=2000"]
    process = start("train", *flags, f"--workdir={tmp_path}")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("commits/*/*/*.json")):
        assert time.monotonic() < deadline, "no segment was finished in two minutes"
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        # Python drops an interrupt that falls into a callback of its garbage collector: a person presses again.
        process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert re.search(
        r"Stopped; every finished segment is kept\. To continue: \S*python\S* scripts/train\.py ", err
    )
    assert "Traceback" not in err
    assert f"--workdir={tmp_path}" in err
