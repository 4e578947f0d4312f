"""The study's configs, run one after another, and the page of what they gave."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Sequence
from pathlib import Path

from mia_jax.config import ConfigError, from_config_dict
from mia_jax.progress import Reporter
from mia_jax.report import atomic
from mia_jax.rnn_vs_ffnn import page, results
from mia_jax.runs import run_directory


def chosen(configs: Path, only: Sequence[str]) -> list[Path]:
    """The config files to run. Raises `ConfigError` where a name in `only` is none, or there is no config."""
    found = {path.stem: path for path in sorted(configs.glob("*.py"))}
    wrong = next((name for name in only if name not in found), None)
    if wrong is not None or not found:
        known = ", ".join(found) or "none"
        asked = f"--only names {wrong!r}" if wrong is not None else "there is nothing to run"
        raise ConfigError(f"{asked}: the configs in {configs} are {known}.")
    return [found[name] for name in only or found]


def run(path: Path, workdir: Path, kept: Path, *, data: str, tell: Reporter) -> None:
    """Run one config into `workdir` and keep its essentials in `kept`.

    The kept seconds are of the call that finished the run: what an interrupted one took before is not in them.
    """
    from mia_jax import comparison, tradeoff
    from mia_jax.comparison.writing import write_comparison
    from mia_jax.tradeoff.writing import write_tradeoff

    asked = runpy.run_path(str(path))["get_config"]()
    if data and asked.data.source.startswith("npz:"):
        asked.data.directory = data
    config, began = from_config_dict(asked), time.monotonic()
    workdir.mkdir(parents=True, exist_ok=True)
    with run_directory.locked(workdir):
        if path.stem.startswith("defences"):
            write_tradeoff(tradeoff.tradeoff(config, workdir, tell=tell), workdir)
            essentials = results.of_tradeoff(json.loads((workdir / "tradeoff.json").read_text()), 0)
        else:
            rows = comparison.compare(config, workdir, tell=tell)
            write_comparison(rows, workdir)
            essentials = results.of_comparison(rows, 0)
        finished = workdir / "finished.json"
        if not finished.exists():
            atomic.write_text(finished, json.dumps({"seconds": round(time.monotonic() - began)}) + "\n")
        results.write(essentials | json.loads(finished.read_text()), kept / f"{path.stem}.json")


def write_page(kept: Path) -> Path:
    """The page of all that is kept, two folders above `kept`, its figures beside `kept`."""
    found = results.read(kept)
    if not found:
        raise ConfigError(f"--results is {kept}: no result lies there; run the study first.")
    study = kept.parent
    return page.write(found, study.parent / f"{study.name}.md", study / "figures")[0]
