"""What counts as supported, and that the page says what the kept results say."""

from pathlib import Path

import numpy as np
import pytest

from mia_jax.rnn_vs_ffnn import claims, details, page, results, tables

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "rnn_vs_ffnn" / "results"


def _kept(**values: tuple[float, float]) -> dict:
    """Comparisons with one value and p-value for the first claim each."""
    row = {
        "variant": "",
        "family": "others",
        "matched": "test_accuracy",
        "what": "auc",
        "attack": claims.ATTACK,
    }
    return {name: {"at_levels": [{**row, "value": value, "p": p}]} for name, (value, p) in values.items()}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": (0.1, 1e-4), "b": (0.2, 0.04)}, "supported"),
        ({"a": (-0.1, 1e-4), "b": (-0.2, 0.04)}, "not supported"),
        ({"a": (0.1, 1e-4), "b": (-0.2, 1e-4)}, "undecided"),
        ({"a": (0.1, 0.03), "b": (0.2, 0.04)}, "undecided"),  # Holm: .06 and .06
        ({"a": (0.1, 1e-9), "b": (0.2, 0.5)}, "undecided"),  # one set alone is sure
        ({"a": (0.1, 1e-9)}, "undecided"),
    ],
)
def test_a_verdict_asks_for_one_sign_on_every_set(values: dict, said: str) -> None:
    kept = _kept(**values)
    assert claims.verdict(0, claims.findings(kept, {0: ("a", "b")})) == said


def _contrast(**values: object) -> dict:
    """A result whose only contrast, LSTM less MLP, is this."""
    row = {"family_a": "lstm", "family_b": "mlp", "attack": claims.ATTACK, "value": 0.1, "p": 1e-6}
    return {"contrasts": [row | values]}


@pytest.mark.parametrize(
    ("place", "values", "supporting"),
    [
        (
            1,
            {"what": "auc_gain", "defence": "l2", "strength": "mean"},
            -1,
        ),  # L2 takes less off the LSTM's AUC
        (2, {"what": "accuracy_loss", "defence": "dp_sgd", "strength": "mean"}, 1),  # and costs it more
        (3, {"what": "accuracy_at_auc", "defence": "parameter_noise", "auc": 0.6}, -1),  # and it keeps less
    ],
)
def test_what_supports_a_claim_on_defences_has_its_sign(place: int, values: dict, supporting: int) -> None:
    for sign, said in ((supporting, "supported"), (-supporting, "not supported")):
        kept = {name: _contrast(**values, **{"value": 0.1 * sign}) for name in ("a", "b")}
        assert claims.verdict(place, claims.findings(kept, {place: ("a", "b")})) == said
    turned = {"a": _contrast(**values, family_a="mlp", family_b="lstm")}
    assert claims.findings(turned, {place: ("a",)}) == []


def test_the_committed_pages_are_made_of_the_committed_results() -> None:
    kept, study = results.read(KEPT), ROOT / "docs" / "rnn_vs_ffnn"
    shown = page.addresses(kept, "rnn_vs_ffnn/figures")
    first, second = (ROOT / "docs" / "rnn_vs_ffnn.md").read_text(), (study / "tables.md").read_text()
    assert first == page.text(kept, shown, "rnn_vs_ffnn/tables.md")
    assert second == details.text(kept, page.addresses(kept, "figures"))
    names = {path.name for path in (study / "figures").iterdir()}
    assert names == {address.rsplit("/", 1)[1] for address in shown.values()}
    assert all(name in first + second for name in names)  # none is drawn for nothing


def test_sets_are_counted_by_the_ends_of_their_intervals() -> None:
    def compared(low: float, high: float) -> dict:
        row = {"variant": "", "family": "lstm", "what": "auc", "attack": "loss", "low": low, "high": high}
        early = {**row, "epoch": 1, "low": 1.0, "high": 2.0}  # of no last epoch
        config = {"families": {"mlp": {}, "lstm": {}}, "comparison": {"reference": "mlp"}}
        levels = [{**row, "matched": "gap"}] if low else []
        return {"at_epochs": [early, {**row, "epoch": 2}], "at_levels": levels, "config": config}

    kept = {
        "a": compared(0.1, 0.2),
        "b": compared(-0.2, -0.1),
        "c": compared(-0.1, 0.2),
        "d": compared(0.0, 1),
    }
    table = tables.signs(kept)
    assert table.head[1:] == (
        "last epoch",
        "equal gap of loss",
        "equal gap of accuracy",
        "equal test accuracy",
    )
    assert table.lines == [("loss", "1 / 1 / 2", "", "1 / 1 / 1", "")]


def test_what_is_kept_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = {"title": "x", "rows": [{"a": 0.123456, "b": None}, {"a": 1e-9, "b": [1, 2.34567]}], "none": []}
    results.write(kept, tmp_path / "one.json")
    assert results.read(tmp_path)["one"] == {
        "title": "x",
        "rows": [{"a": 0.1235, "b": None}, {"a": 1e-9, "b": [1, 2.346]}],
        "none": [],
    }


def test_the_mean_over_sets_has_the_error_of_independent_sets() -> None:
    rows = [
        {"value": value, "error": error, "degrees": 1e6, "fewest": 64}
        for value, error in ((0.1, 0.03), (-0.2, 0.04), (0.4, 0.12))
    ]
    found = claims.mean(rows)
    assert found["value"] == pytest.approx(0.1)
    # A root of .0009 + .0016 + .0144 is .13; a third of it, times 1.96, is .0849.
    assert found["high"] - found["value"] == pytest.approx(0.0849, abs=1e-4)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_as_many_models_as_are_said_to_be_needed_leave_zero_out_four_times_in_five(ratio: float) -> None:
    needed = claims.models_needed({"value": ratio, "error": 1.0})
    draws = np.random.default_rng(0).normal(ratio, 1 / np.sqrt(needed), 200_000)
    assert np.mean(np.abs(draws) * np.sqrt(needed) > 1.959964) == pytest.approx(0.8, abs=0.005)
