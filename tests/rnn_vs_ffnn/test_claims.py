"""What counts as supported, and that the page says what the kept results say."""

from pathlib import Path

import pytest

from mia_jax.rnn_vs_ffnn import claims, page, results

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
        ({"a": (0.1, 1e-9)}, "undecided"),
    ],
)
def test_a_verdict_asks_for_one_sign_on_every_set(values: dict, said: str) -> None:
    kept = _kept(**values)
    assert claims.verdict(0, claims.findings(kept, {0: ("a", "b")})) == said


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    figures = [
        f"rnn_vs_ffnn/figures/{name}_{kind}.png" for name in page.HEADLINE for kind in ("training", "gap")
    ]
    assert (ROOT / "docs" / "rnn_vs_ffnn.md").read_text() == page.text(results.read(KEPT), figures)


def test_what_is_kept_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = {"title": "x", "rows": [{"a": 0.123456, "b": None}, {"a": 1e-9, "b": [1, 2.34567]}], "none": []}
    results.write(kept, tmp_path / "one.json")
    assert results.read(tmp_path)["one"] == {
        "title": "x",
        "rows": [{"a": 0.1235, "b": None}, {"a": 1e-9, "b": [1, 2.346]}],
        "none": [],
    }
