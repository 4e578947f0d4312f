"""Our side of the PyTorch workers: start them, copy parameters to them, check that they agree."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
"""Largest difference of loss and gradient, relative to the largest entry of each array."""


class DisagreementError(RuntimeError):
    """Two sides that do not compute the same thing must not be timed against each other."""


def installed(*, cuda: bool = False) -> bool:
    """Whether there is a PyTorch to compare with; cuda: one that can use a GPU."""
    if importlib.util.find_spec("torch") is None or not cuda:
        return importlib.util.find_spec("torch") is not None
    # Asked in another process: this one is JAX's.
    ask = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip() == "True"


class Workers:
    """Processes of one thread each; models are dealt out to them like cards."""

    def __init__(self, program: str, count: int) -> None:
        """Start `count` processes of a program, "torch_loop" or "torch_vmap"."""
        command = [sys.executable, "-m", f"benchmarks.{program}"]
        pipe = subprocess.PIPE
        self._processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) for _ in range(count)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.communicate()

    def load(self, *arguments: Any) -> None:
        """`Trainer.load` in every worker."""
        self._ask("load", [arguments] * len(self._processes))

    def loss_and_gradient(self, weights: dict[str, Any], rows: Any) -> tuple[float, dict[str, Any]]:
        """`Trainer.loss_and_gradient` in the first worker."""
        return self._ask("loss_and_gradient", [(weights, rows)])[0]

    def begin(self, models: Sequence[int]) -> float:
        """Deal out these models; every worker makes its own and warms up; the slowest one's seconds an epoch."""
        count = len(self._processes)
        return max(self._ask("begin", [(list(models[first::count]),) for first in range(count)]))

    def train(self, epochs: int) -> float:
        """Train all models; the seconds until the last worker is done."""
        began = time.perf_counter()
        self._ask("train", [(epochs,)] * len(self._processes))
        return time.perf_counter() - began

    def _ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call `method` in one worker for each tuple of arguments, at the same time; their answers."""
        asked = list(zip(self._processes, arguments, strict=False))
        for process, values in asked:
            assert process.stdin is not None
            pickle.dump((method, values), process.stdin)
            process.stdin.flush()
        answers = []
        for process, _ in asked:
            assert process.stdout is not None
            answers.append(pickle.load(process.stdout))
        return answers


def as_torch(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Our parameters under torch's names, in its layout.

    Both order the gates i, f, g, o (LSTM) and r, z, n (GRU, reset after the product). torch adds two
    biases where we have one: its second is zero but for the GRU's n, which is our recurrent bias.
    """
    params = {name: {key: np.asarray(leaf) for key, leaf in layer.items()} for name, layer in params.items()}
    head = params["head"]
    if "dense_0" in params:
        dense = params["dense_0"]
        return {
            "0.weight": dense["kernel"].T,
            "0.bias": dense["bias"],
            "2.weight": head["kernel"].T,
            "2.bias": head["bias"],
        }
    layer = params["recurrent_0"]
    second = np.zeros_like(layer["bias"])
    if "recurrent_bias" in layer:
        second[-layer["recurrent_bias"].size :] = layer["recurrent_bias"]
    return {
        "cell.weight_ih_l0": layer["input"].T,
        "cell.weight_hh_l0": layer["recurrent"].T,
        "cell.bias_ih_l0": layer["bias"],
        "cell.bias_hh_l0": second,
        "head.weight": head["kernel"].T,
        "head.bias": head["bias"],
    }


def largest_difference(
    loss: float, gradient: dict[str, Any], torch_loss: float, torch_gradient: dict[str, Any]
) -> float:
    """How far the two sides are apart, relative to the largest entry of each array.

    Raises `DisagreementError` above `TOLERANCE`.
    """
    ours = as_torch(gradient)
    if "cell.bias_hh_l0" in ours:
        # A bias that is added twice has its gradient twice.
        recurrent = gradient["recurrent_0"].get("recurrent_bias", ())
        first = ours["cell.bias_ih_l0"]
        ours["cell.bias_hh_l0"] = np.concatenate([first[: first.size - len(recurrent)], recurrent])
    ours["loss"], theirs = np.asarray(loss), {**torch_gradient, "loss": np.asarray(torch_loss)}
    apart = {name: float(np.abs(ours[name] - a).max() / np.abs(a).max()) for name, a in theirs.items()}
    worst = max(apart, key=lambda name: apart[name])
    if not apart[worst] <= TOLERANCE:
        raise DisagreementError(f"{worst} differs by {apart[worst]:.1e}, allowed is {TOLERANCE:.0e}.")
    return apart[worst]
