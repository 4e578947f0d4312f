"""The headline ratios of all results in a folder, as one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import markdown as made
from benchmarks.shadow_work import FAMILIES

COLUMNS = ("work", "ours is times as fast as", "of matmul limit", "machine")
OF_TRAINING = {"torch": "PyTorch loop", "vmap": "torch.func vmap"}
OF_STEPS = {
    "Opacus / ours": "Opacus GradSample",
    "Opacus ghost / ours": "Opacus ghost",
    "jax-privacy / ours": "jax-privacy",
}


class Headline(NamedTuple):
    """One row: the work, how many times as fast ours is as others by name, its part of the limit, the machine."""

    work: str
    ratios: Mapping[str, str]
    of_limit: float | None
    machine: str


def headlines(folder: Path) -> list[Headline]:
    """The rows of all results in a folder, as far as they are there."""
    return [*of_training(folder), *of_private_steps(folder), *of_attacks(folder)]


def of_training(folder: Path) -> Iterator[Headline]:
    """Of each setting and family the row of most models, of the newest results, for each processor or accelerator.

    Rows of ours alone have no ratio and are left out.
    """
    found: dict[tuple[str, str, str], tuple[tuple[str, int], Mapping[str, Any], Mapping[str, Any]]] = {}
    for result in results(folder, "train"):
        for row in result["rows"]:
            if not any(name in row for name in OF_TRAINING):
                continue
            about = result["machine"]
            key = about.get("processor", about["device"]), row["setting"], row["family"]
            age = about["date"], row["num_models"]
            if key not in found or age > found[key][0]:
                found[key] = age, result, row
    for _, result, row in found.values():
        limit = result["limits"][row["setting"]]["matmul_flop_per_s"]
        yield Headline(
            f"{model(row['family'])}, {row['num_models']:,} models, {place(row['setting'])}",
            {said: compared(row[name]) for name, said in OF_TRAINING.items() if name in row},
            row["ours"]["flop_per_s"] / limit,
            described(result["machine"]),
        )


def of_private_steps(folder: Path) -> Iterator[Headline]:
    """Of each family the row of the largest batch."""
    for result in results(folder, "private_steps"):
        largest: dict[str, Mapping[str, Any]] = {}
        for row in result["rows"]:
            if row["batch_size"] > largest.get(row["family"], {"batch_size": 0})["batch_size"]:
                largest[row["family"]] = row
        for row in largest.values():
            ratios = {
                said: spread(row["ratios"][name]) for name, said in OF_STEPS.items() if name in row["ratios"]
            }
            if ratios:
                work = f"DP-SGD {row['family'].upper()} B={row['batch_size']}"
                yield Headline(work, ratios, None, described(result["machine"], "one core"))


def of_attacks(folder: Path) -> Iterator[Headline]:
    """Of each attack the row of most entries."""
    for result in results(folder, "attacks"):
        largest: dict[str, Mapping[str, Any]] = {}
        for row in result["rows"]:
            before = largest.get(row["attack"])
            if before is None or entries(row) > entries(before):
                largest[row["attack"]] = row
        for row in largest.values():
            work = f"{row['attack']} {row['num_models']:,} × {row['num_records']:,}"
            about = described(result["machine"], "one core")
            yield Headline(work, {"loop": f"{row['ratio']:,.0f}"}, None, about)


def entries(row: Mapping[str, Any]) -> int:
    """K times N."""
    return row["num_models"] * row["num_records"]


def results(folder: Path, benchmark: str) -> Iterator[dict[str, Any]]:
    """The results of one benchmark on whatever machines."""
    for path in sorted([*folder.glob(f"{benchmark}.json"), *folder.glob(f"{benchmark}_*.json")]):
        yield json.loads(path.read_text())


def model(family: str) -> str:
    """A family and its sizes: features, hidden, classes; of a recurrent one steps x features."""
    of = FAMILIES[family]
    record = " x ".join(map(str, of.record))
    return f"{family.upper()} {record}-{of.hidden}-{of.num_classes}"


def place(setting: str) -> str:
    """A setting in words."""
    return {"device": "one accelerator"}.get(setting, setting.replace("_", " "))


def compared(side: Mapping[str, Any]) -> str:
    """How many times as fast as this side ours is."""
    return spread(side["ratio"]) if "ratio" in side else f"too slow ({side['too_slow_s']:,.0f} s a repeat)"


def spread(ratio: Mapping[str, float]) -> str:
    """The median, the least and the largest."""
    middle, low, high = (f"{ratio[key]:,.{digits(ratio['median'])}f}" for key in ("median", "min", "max"))
    return f"{middle} ({low}–{high})"


def digits(value: float) -> int:
    """Digits after the point that a ratio deserves."""
    return 0 if value >= 100 else 1


def described(about: Mapping[str, Any], cores: str = "") -> str:
    """A machine in one line; cores: those used, where not all are."""
    if "processor" in about:
        computer = f"{about['processor']}, {cores}" if cores else made.all_cores(about)
    else:
        computer = ", driver ".join(filter(None, (about["device"], about["driver"])))
    return f"{computer}; {made.versions(about)}"


def markdown(rows: Iterable[Headline]) -> str:
    """The table, and below it the machines by number."""
    rows = list(rows)
    machines = list(dict.fromkeys(row.machine for row in rows))
    lines = [
        (
            row.work,
            "; ".join(f"{said} {ratio}" for said, ratio in row.ratios.items()),
            "-" if row.of_limit is None else f"{row.of_limit:.0%}",
            str(machines.index(row.machine) + 1),
        )
        for row in rows
    ]
    below = "\n".join(f"{i}. {about}." for i, about in enumerate(machines, 1))
    return made.table(COLUMNS, lines, below, names=2)
