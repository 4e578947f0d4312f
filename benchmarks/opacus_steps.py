"""The other side: Opacus, PyTorch's library for DP-SGD, eager. Imports no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.layers import DPGRU, DPLSTM, DPRNN
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

Method = Literal["grad_sample", "ghost"]


class Recurrent(nn.Module):
    """Opacus' own RNN, LSTM or GRU, which its users must take, and a linear read-out of the last output."""

    def __init__(self, family: str, features: int, hidden: int, num_classes: int) -> None:
        """family: "rnn", "lstm" or "gru"."""
        super().__init__()
        cell = {"rnn": DPRNN, "lstm": DPLSTM, "gru": DPGRU}[family]
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


class Privacy(NamedTuple):
    """clip_norm: of each record's gradient. noise_multiplier: of the clip norm. method: how Opacus clips."""

    clip_norm: float
    noise_multiplier: float
    method: Method


class Private:
    """A module wrapped as Opacus would have it, with its optimizer and its loss."""

    def __init__(
        self, module: nn.Module, privacy: Privacy, batch_size: int, learning_rate: float = 1e-3
    ) -> None:
        """batch_size: by which the noised sum is divided."""
        adam = torch.optim.Adam(module.parameters(), lr=learning_rate)
        noise = {
            "noise_multiplier": privacy.noise_multiplier,
            "max_grad_norm": privacy.clip_norm,
            "expected_batch_size": batch_size,
        }
        criterion = nn.CrossEntropyLoss()
        if privacy.method == "ghost":
            self.module = GradSampleModuleFastGradientClipping(module, max_grad_norm=privacy.clip_norm)
            self.optimizer = DPOptimizerFastGradientClipping(adam, **noise)
            self.loss = DPLossFastGradientClipping(self.module, self.optimizer, criterion)
        else:
            self.module = GradSampleModule(module)
            self.optimizer = DPOptimizer(adam, **noise)
            self.loss = criterion

    def backward(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Forward and back over one batch, which leaves what the optimizer's step reads."""
        self.optimizer.zero_grad()
        self.loss(self.module(x), y).backward()


class Steps:
    """One model's training on given batches, one step whenever it is called."""

    steps = 1

    def __init__(
        self,
        shape: tuple[Any, ...],
        privacy: Privacy,
        x: np.ndarray,
        y: np.ndarray,
        rows: np.ndarray,
        learning_rate: float,
    ) -> None:
        """shape: the arguments of `build`. x, y: the records. rows: int [steps, B], taken in turn."""
        self._private = Private(build(*shape), privacy, rows.shape[1], learning_rate)
        self._x, self._y = torch.from_numpy(x), torch.from_numpy(y).long()
        self._rows, self._taken = torch.from_numpy(rows).long(), 0

    def __call__(self) -> None:
        """Take the next step."""
        rows = self._rows[self._taken % len(self._rows)]
        self._private.backward(self._x[rows], self._y[rows])
        self._private.optimizer.step()
        self._taken += 1


def clipped_sum(
    shape: tuple[Any, ...],
    weights: Mapping[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    clip_norm: float,
    method: Method,
) -> dict[str, np.ndarray]:
    """The sum of one batch's clipped gradients at the given weights, by torch's names."""
    module = build(*shape)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.tensor(weights[name]))
    private = Private(module, Privacy(clip_norm, 0.0, method), len(x))
    private.backward(torch.from_numpy(x), torch.from_numpy(y).long())
    private.optimizer.pre_step()
    found = {name: p.grad for name, p in module.named_parameters()}
    return {name: len(x) * grad.numpy() for name, grad in found.items() if grad is not None}


def without_ghost(shape: tuple[Any, ...]) -> list[str]:
    """Layers with parameters for which Opacus has no ghost norms: it makes their records' gradients after all."""
    known = GradSampleModuleFastGradientClipping.NORM_SAMPLERS
    leaves = [m for m in build(*shape).modules() if not list(m.children())]
    return sorted({type(m).__name__ for m in leaves if list(m.parameters()) and type(m) not in known})
