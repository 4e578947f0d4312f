"""The headline ratios in one table, of one command: python -m benchmarks.all.

Runs the benchmarks of training, of private steps and of attacks in turn, each in a process of its own, and reads
the JSON files that they write. `--show` reads those that are there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from benchmarks.headlines import headlines, markdown

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
QUICK = {
    "train": ("--families=mlp,gru", "--models=8", "--steps=5", "--repeats=2"),
    "private_steps": ("--preset=small", "--repeats=2"),
    "attacks": ("--sizes=64x5000x2000", "--repeats=1"),
}
"""Flags of each benchmark that make it take a minute or two."""

FLAGS = flags.FLAGS
flags.DEFINE_bool("quick", False, "A few minutes: small sizes, written to --folder only.")
flags.DEFINE_string(
    "folder", "", "Where the results are written. Default: benchmarks/results; quick: nowhere."
)
flags.DEFINE_string(
    "show", "", "Print the table of the results in this folder in Markdown and do nothing else."
)


def measure(folder: Path, *, quick: bool) -> None:
    """Run the benchmarks in turn; they write to this folder. Raises CalledProcessError where one fails."""
    for name, small in QUICK.items():
        command = [sys.executable, "-m", f"benchmarks.{name}", *(small if quick else ())]
        if folder != RESULTS:
            command.append(f"--out={folder / name}.json")
        print(f"benchmarks.{name}:", file=sys.stderr, flush=True)
        # The tables of the parts go where the progress does: what is printed here is the one table.
        subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


def main(_: Sequence[str]) -> None:
    """Show the table of a folder, or measure first."""
    if FLAGS.show:
        print(markdown(headlines(Path(FLAGS.show))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(FLAGS.folder or (temporary if FLAGS.quick else RESULTS)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, quick=FLAGS.quick)
        print(markdown(headlines(folder)))


if __name__ == "__main__":
    app.run(main)
