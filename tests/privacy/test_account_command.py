"""The account command as a person uses it: a process, an exit code and a few lines."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from mia_jax.privacy import epsilon, noise_multiplier

ROOT = pathlib.Path(__file__).parents[2]
SIZES = ["--num_examples=1000", "--batch_size=64", "--delta=1e-5"]
SAME = {"num_examples": 1000, "batch_size": 64, "delta": 1e-5}


def account(*flags):
    """Exit code, standard output and standard error of the command."""
    command = [sys.executable, str(ROOT / "scripts" / "account.py"), *flags]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ), timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def test_noise_gives_epsilon_under_both_relations():
    code, out, err = account(*SIZES, "--steps=480", "--noise_multiplier=1.1")
    assert (code, err) == (0, "")
    answers = [
        epsilon(**SAME, steps=480, noise_multiplier=1.1, relation=name)
        for name in ("add_or_remove", "replace")
    ]
    assert f"epsilon {answers[0]:.4g}\n" in out
    assert f"under replace: epsilon {answers[1]:.4g}" in out
    assert (
        "Poisson sampling of 1000 records at rate 0.064, 480 steps, noise multiplier 1.1; add-or-remove"
        in out
    )
    assert "\ndelta " in out
    assert "\nrelation " in out


def test_budget_gives_a_noise_multiplier_that_keeps_to_it_as_it_is_printed():
    code, out, err = account(*SIZES, "--epochs=30", "--target_epsilon=4", "--accountant=rdp")
    assert (code, err) == (0, "")
    sigma = float(re.match(r"noise multiplier ([\d.]+) keeps epsilon at or below 4\n", out)[1])
    asked = {**SAME, "steps": 480, "accountant": "rdp"}
    assert epsilon(**asked, noise_multiplier=sigma) <= 4
    assert sigma == pytest.approx(noise_multiplier(**asked, target_epsilon=4.0), rel=1e-4)
    assert "under replace: accountant is 'rdp', sampling 'poisson' and relation 'replace'" in out


def test_shuffling_says_what_its_neighbours_are():
    code, out, _ = account(*SIZES, "--epochs=2", "--noise_multiplier=4", "--sampling=shuffle")
    assert code == 0
    assert "Shuffled batches of 64, 2 epochs" in out
    assert "one record is as it is or has no gradient" in out


@pytest.mark.parametrize(("delta", "warned"), [("0.001", True), ("0.0009", False)])
def test_a_delta_that_may_give_whole_records_away_is_said(delta, warned):
    flags = ["--num_examples=1000", "--batch_size=64", "--steps=1", "--noise_multiplier=1"]
    code, out, _ = account(*flags, f"--delta={delta}")
    assert code == 0
    assert (f"warning   delta is {delta}, not below 1/num_examples, 0.001" in out) == warned


def test_no_noise_needs_none():
    code, out, _ = account(*SIZES, "--steps=0", "--target_epsilon=1", "--accountant=rdp")
    assert code == 0
    assert out.startswith("noise multiplier 0 keeps epsilon at or below 1\nepsilon 0\n")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--num_examples is missing: give the number of records trained on."),
        (SIZES, "--steps or --epochs: give one of them."),
        ([*SIZES, "--steps=1", "--epochs=1"], "--steps or --epochs: give one of them."),
        ([*SIZES, "--steps=1"], "--noise_multiplier or --target_epsilon: give one of them"),
        (
            [*SIZES, "--steps=1", "--noise_multiplier=-1"],
            "--noise_multiplier is -1.0: it must be finite and at least 0.",
        ),
        (
            [*SIZES, "--steps=1", "--noise_multiplier=1", "--max_batch=9"],
            "max_batch is 9 and sampling 'poisson'",
        ),
        ([*SIZES, "--steps=1", "--noise_multiplier=1", "--delta=2"], "delta is 2.0: it must lie in (0, 1)."),
        (
            ["--num_examples=9", "--batch_size=0", "--delta=.1", "--epochs=1"],
            "--batch_size are 1 and 0: they must be at least 0 and 1.",
        ),
        (["--accountant=moments"], "value should be one of <pld|rdp>"),
        (["--bach_size=64"], "Did you mean: batch_size?"),
        (["1000"], "'1000' is not a flag: flags look like --num_examples=1000"),
    ],
)
def test_what_is_wrong_is_one_sentence(flags, words):
    code, out, err = account(*flags)
    assert code == 2, err
    assert not out
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1


def test_help_lists_its_flags_and_no_run_directory():
    code, out, _ = account("--help")
    assert code == 0
    for flag in ("num_examples", "steps", "epochs", "target_epsilon", "accountant", "sampling", "relation"):
        assert f"  --{flag}: " in out
    assert "--workdir" not in out
    assert "--config" not in out
