"""What a large study costs, by arithmetic from measured rates: python -m benchmarks.plan.

10,000 convolutional networks on CIFAR-sized data, on 8, 64 and 512 accelerators. The rates are those of
benchmarks/results/; docs/scaling.md says what follows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import app

from benchmarks import markdown as made

RESULTS = Path(__file__).resolve().parent / "results"
DEVICES = (8, 64, 512)
DEVICES_PER_HOST = 8
COLUMNS = (
    "accelerators",
    "models on each",
    "of full rate",
    "training",
    "recording",
    "compilation",
    "signals and states, GB",
    "written, MB/s, all hosts",
    "one host",
    "attacks in one process",
    "in all",
)


class Study(NamedTuple):
    """What is asked for. forward, train: FLOP of one record (counted by XLA); parameters: of one model.

    The network: 4 convolutions 3x3 of 32, 32, 64, 64 channels with group norms, on 32 x 32 x 3.
    """

    models: int = 10_000
    pool: int = 50_000
    train_size: int = 25_000
    others: int = 10_000
    epochs: int = 50
    checkpoints: int = 10
    classes: int = 10
    attacks: int = 7
    forward: float = 51.9e6
    train: float = 151.3e6
    parameters: int = 106_730

    @property
    def training_flop(self) -> float:
        """Of all models and epochs."""
        return self.models * self.epochs * self.train_size * self.train

    @property
    def recording_flop(self) -> float:
        """Of all models and checkpoints."""
        return self.models * self.checkpoints * (self.pool + self.others) * self.forward

    @property
    def bytes_written(self) -> float:
        """Signals of the pool, the last step seen, signals of the others, states, last logits and parameters."""
        each = 24 * self.pool + 20 * self.others
        state = 3 * 4 * self.parameters
        last = 4 * self.classes * (self.pool + self.others) + 4 * self.parameters
        return self.models * (self.checkpoints * each + (self.checkpoints - 1) * state + last)


class Rates(NamedTuple):
    """flop_per_s: of one full accelerator. fill: how much of that so many models reach, [(models, share)],
    rising. compile_s: of one family. attack_s: of one attack for one model, record and checkpoint, one process.
    """

    flop_per_s: float
    fill: tuple[tuple[float, float], ...]
    compile_s: float
    attack_s: float


def measured() -> Rates:
    """The rates of the committed results."""
    full = _rows("train_nvidia_h100_80gb_hbm3")
    mlps = [row for row in _rows("train_nvidia_h100_80gb_hbm3_scaling") if row["family"] == "mlp"]
    most = max(row["ours"]["steps_per_s"] for row in mlps)
    largest = json.loads((RESULTS / "big_pool_cpu_2cores.json").read_text())
    row = max(largest["rows"], key=lambda row: row["records"])
    entries = row["models"] * row["records"] * row["checkpoints"] * len(largest["attacks"])
    return Rates(
        flop_per_s=min(row["ours"]["flop_per_s"] for row in full),
        fill=tuple((row["num_models"], row["ours"]["steps_per_s"] / most) for row in mlps),
        compile_s=max(row["compile_s"] for row in full),
        attack_s=row["stages"]["attack"]["seconds"] / entries,
    )


def share_of_rate(fill: Sequence[tuple[float, float]], models: float) -> float:
    """What so many models on one accelerator reach of its rate: between the measured ones, by the logarithm."""
    below = max((point for point in fill if point[0] <= models), default=fill[0])
    above = min((point for point in fill if point[0] >= models), default=fill[-1])
    if below[0] == above[0]:
        return min(below[1], 1.0)
    along = math.log(models / below[0]) / math.log(above[0] / below[0])
    return min(below[1] + along * (above[1] - below[1]), 1.0)


def row_of(study: Study, rates: Rates, devices: int) -> tuple[str, ...]:
    """One row of the table, in the order of COLUMNS; one process for each accelerator."""
    each = study.models / devices
    share = share_of_rate(rates.fill, each)
    rate = devices * rates.flop_per_s * share
    training, recording = study.training_flop / rate, study.recording_flop / rate
    per_s = study.bytes_written / (training + recording)
    attacks = study.models * study.pool * study.checkpoints * study.attacks * rates.attack_s
    return (
        f"{devices}",
        f"{each:,.0f}",
        f"{share:.0%}",
        _time(training),
        _time(recording),
        _time(rates.compile_s),
        f"{study.bytes_written / 1e9:,.0f}",
        f"{per_s / 1e6:,.0f}",
        f"{per_s / 1e6 / math.ceil(devices / DEVICES_PER_HOST):,.0f}",
        _time(attacks),
        _time(attacks / devices),
    )


def markdown() -> str:
    """The table."""
    study, rates = Study(), measured()
    return made.table(COLUMNS, (row_of(study, rates, devices) for devices in DEVICES), names=0)


def _rows(name: str) -> list[dict[str, Any]]:
    """The rows of a committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def _time(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def main(_: Sequence[str]) -> None:
    """Print the table."""
    print(markdown())


if __name__ == "__main__":
    app.run(main)
