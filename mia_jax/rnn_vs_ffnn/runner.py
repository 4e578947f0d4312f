"""The study's configs, run one after another, and the page of what they gave."""

from __future__ import annotations

import contextlib
import json
import runpy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mia_jax.config import Config, ConfigError, from_config_dict
from mia_jax.progress import Reporter
from mia_jax.report import atomic
from mia_jax.rnn_vs_ffnn import page, results
from mia_jax.runs import locking


def chosen(configs: Path, only: Sequence[str]) -> list[Path]:
    """The config files to run. Raises `ConfigError` where a name in `only` is none, or there is no config."""
    found = {path.stem: path for path in sorted(configs.glob("*.py"))}
    wrong = next((name for name in only if name not in found), None)
    if wrong is not None or not found:
        known = ", ".join(found) or "none"
        asked = f"--only names {wrong!r}" if wrong is not None else "there is nothing to run"
        raise ConfigError(f"{asked}: the configs in {configs} are {known}.")
    return [found[name] for name in only or found]


def run(path: Path, workdir: Path, kept: Path, *, data: str, tell: Reporter, scale: str = "default") -> None:
    """Run one config into `workdir`, a trade-off where it has a grid, and keep its essentials in `kept`.

    scale: which of the config's sizes. The kept seconds are of all calls until the run was finished; of a call that
    was killed they are lost.
    """
    asked = runpy.run_path(str(path))["get_config"]()
    if data and asked.data.source.startswith("npz:"):
        asked.data.directory = data
    asked.scale = scale
    config = from_config_dict(asked)
    workdir.mkdir(parents=True, exist_ok=True)
    with locking.locked(workdir):
        with _timed(workdir / "seconds.json") as spent:
            essentials = _essentials(config, workdir, tell)
        results.write({**essentials, "seconds": round(spent["seconds"])}, kept / f"{path.stem}.json")


def _essentials(config: Config, workdir: Path, tell: Reporter) -> results.Kept:
    """What is kept of a trade-off or a comparison that has been run to its end and written."""
    from mia_jax import comparison, tradeoff
    from mia_jax.comparison.writing import write_comparison
    from mia_jax.tradeoff.writing import write_tradeoff

    if config.tradeoff.grid:
        write_tradeoff(tradeoff.tradeoff(config, workdir, tell=tell), workdir)
        return results.of_tradeoff(json.loads((workdir / "tradeoff.json").read_text()))
    rows = comparison.compare(config, workdir, tell=tell)
    write_comparison(rows, workdir)
    return results.of_comparison(rows)


@contextlib.contextmanager
def _timed(path: Path) -> Iterator[dict[str, Any]]:
    """Adds the time inside to what a file has, until once it came to its end; gives what the file then holds."""
    spent = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "finished": False}
    began, finished = time.monotonic(), spent["finished"]
    try:
        yield spent
        spent["finished"] = True
    finally:
        if not finished:
            spent["seconds"] += time.monotonic() - began
            atomic.write_text(path, json.dumps(spent) + "\n")


def write_page(kept: Path) -> Path:
    """The pages of all that is kept, the first two folders above `kept`, the others and the figures beside `kept`."""
    found = results.read(kept)
    if not found:
        raise ConfigError(f"--results is {kept}: no result lies there; run the study first.")
    study = kept.parent
    return page.write(found, study.parent / f"{study.name}.md", study)[0]
