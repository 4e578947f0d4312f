"""The other side: PyTorch, eager, one model after another, the way most shadow models are trained.

Run as a program it is one worker: it reads (method, arguments) pickled from stdin, calls that
method of `Trainer`, and writes what it returns to stdout. It imports no JAX.
"""

from __future__ import annotations

import pickle
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn

METHODS = ("load", "loss_and_gradient", "begin", "train")


class Recurrent(nn.Module):
    """torch's own RNN, LSTM or GRU and a linear read-out of the last output."""

    def __init__(self, family: str, features: int, hidden: int, num_classes: int) -> None:
        """family: "rnn", "lstm" or "gru"."""
        super().__init__()
        cell = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[family]
        self.cell = cell(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of sequences [B, L, D]."""
        outputs, _ = self.cell(x)
        return self.head(outputs[:, -1])


def build(family: str, features: int, hidden: int, num_classes: int) -> nn.Module:
    """The module of one family."""
    if family == "mlp":
        return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
    return Recurrent(family, features, hidden, num_classes)


def use_tf32(allowed: bool) -> None:
    """Whether products on a GPU may be taken in TF32, as JAX's are by default; on a CPU nothing changes."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def train(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    y: torch.Tensor,
    rows: torch.Tensor,
    epochs: int,
    batch_size: int,
) -> None:
    """Train one model on `rows` of the records, in a new order each epoch."""
    for _ in range(epochs):
        for batch in rows[torch.randperm(rows.numel(), device=rows.device)].split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()


class Trainer:
    """What one worker holds: the records, its models and their optimizers."""

    def __init__(self) -> None:
        """One thread: where there are more cores, there are more workers."""
        torch.set_num_threads(1)
        self.device = torch.device("cpu")

    def load(self, shape: tuple[Any, ...], x: Any, y: Any, indices: Any, options: dict[str, Any]) -> None:
        """Take the records and the rows of every model, [K, n]; shape: the arguments of `build`."""
        self.device = torch.device(options["device"])
        self.shape, self.options = shape, options
        self.x, self.y = self._tensor(x), self._tensor(y).long()
        self.indices = self._tensor(indices).long()
        self.models: list[tuple[torch.Tensor, nn.Module, torch.optim.Optimizer]] = []

    def loss_and_gradient(self, weights: dict[str, Any], rows: Any) -> tuple[float, dict[str, Any]]:
        """The mean loss of the records `rows` under the given weights, and its gradient."""
        use_tf32(False)
        module = build(*self.shape).to(self.device)
        module.load_state_dict({name: self._tensor(value) for name, value in weights.items()})
        batch = self._tensor(rows).long()
        loss = nn.functional.cross_entropy(module(self.x[batch]), self.y[batch])
        loss.backward()
        return loss.item(), {
            name: p.grad.cpu().numpy() for name, p in module.named_parameters() if p.grad is not None
        }

    def begin(self, models: list[int]) -> float:
        """Make the models with these numbers, in the place of those before; the seconds of an epoch, to warm up."""
        use_tf32(True)
        self.models = []
        for number in models:
            module = build(*self.shape).to(self.device)
            optimizer = torch.optim.Adam(module.parameters(), lr=self.options["learning_rate"])
            self.models.append((self.indices[number], module, optimizer))
        return self.train(1)

    def train(self, epochs: int) -> float:
        """Train every model, one after another; the seconds it took."""
        began = time.perf_counter()
        for rows, module, optimizer in self.models:
            train(module, optimizer, self.x, self.y, rows, epochs, self.options["batch_size"])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def _tensor(self, array: Any) -> torch.Tensor:
        """A copy of a NumPy array on the device."""
        return torch.tensor(np.asarray(array), device=self.device)


def serve(trainer: Trainer) -> None:
    """Answer until stdin ends."""
    answers = sys.stdout.buffer
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if method not in METHODS:
            raise ValueError(f"method is {method!r}: it must be one of {METHODS}.")
        pickle.dump(getattr(trainer, method)(*arguments), answers)
        answers.flush()


if __name__ == "__main__":
    serve(Trainer())
