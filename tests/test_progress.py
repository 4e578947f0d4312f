"""What a person watching a training is told."""

import io
import re

import pytest
from rich.console import Console

from mia_jax import progress


def told(force_terminal, monkeypatch, *, seconds=10.0):
    """Everything a reporter prints for a family of four models, a quarter of it done before."""
    clock = iter(i * seconds for i in range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    reporter = progress.reporter(Console(file=out, force_terminal=force_terminal, width=100))
    reporter.say("lstm: 5,578 parameters")
    reporter.begin("lstm", models=4, steps=100, done=100)
    reporter.advance(0, 100)
    reporter.advance(2, 100)
    reporter.advance(4, 100)
    reporter.end()
    return out.getvalue()


def test_a_log_gets_plain_lines_with_models_rate_and_time_left(monkeypatch):
    text = told(False, monkeypatch)
    assert "\x1b" not in text
    assert "train lstm: 4 models of 100 steps, 25% of it done before" in text
    lines = re.findall(r"train lstm: (\d)/4 models(?:, ([\d,]+) steps/s)?(?:, (\d+) s left)?", text)
    assert lines == [("0", "", ""), ("2", "5", "20"), ("4", "5", "")], (
        "the first segment holds the compilation"
    )


def test_a_log_is_not_flooded(monkeypatch):
    text = told(False, monkeypatch, seconds=0.1)
    assert text.count("/4 models") == 1, "only the end, within five seconds"


def test_a_terminal_gets_a_bar(monkeypatch):
    out = io.StringIO()
    bar = progress.reporter(Console(file=out, force_terminal=True, width=100))
    assert isinstance(bar, progress.Bar)
    bar.begin("lstm", models=4, steps=100, done=0)
    bar.advance(2, 200)
    bar.advance(4, 200)
    bar.end()
    bar.end()
    assert "4/4 models" in out.getvalue()
    assert "steps/s" in out.getvalue()


@pytest.mark.parametrize("kind", [progress.Silent(), progress.Lines(Console(file=io.StringIO()))])
def test_every_reporter_can_be_told_everything(kind):
    kind.say("x")
    kind.begin("x", 1, 1, 0)
    kind.advance(1, 1)
    kind.end()
