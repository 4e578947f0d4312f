"""The other side for whoever knows it: many PyTorch models at once by `torch.func`.

Parameters stacked over models, `vmap` of `grad` over them, and one Adam of the stacked tensors. torch's
recurrent layers cannot be mapped, so their cells are written out. It imports no JAX.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from benchmarks import torch_loop

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
CHUNKS = (4, 16, 64, 256, 1024)
"""Numbers of models at once that are tried while warming up, beside all of a worker's; the fastest stays."""


class Cells(nn.Module):
    """The parameters of torch's RNN, LSTM or GRU under their own names, and their steps written out."""

    def __init__(self, family: str, features: int, hidden: int) -> None:
        """family: "rnn", "lstm" or "gru"."""
        super().__init__()
        self.family, self.hidden = family, hidden
        gates = GATES[family] * hidden
        for name, shape in (
            ("weight_ih_l0", (gates, features)),
            ("weight_hh_l0", (gates, hidden)),
            ("bias_ih_l0", (gates,)),
            ("bias_hh_l0", (gates,)),
        ):
            values = torch.empty(shape).uniform_(-1, 1) / math.sqrt(hidden)
            self.register_parameter(name, nn.Parameter(values))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last output [B, H] of sequences [B, L, D]; the input's products come before the steps."""
        # Of the GRU's second bias the last third is inside the reset; all the rest is simply added.
        outside = self.bias_hh_l0
        if self.family == "gru":
            outside = torch.cat([outside[: 2 * self.hidden], torch.zeros_like(outside[2 * self.hidden :])])
        inputs = nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0 + outside)
        h = c = x.new_zeros(x.shape[0], self.hidden)
        recurrent = self.weight_hh_l0.t()
        for step in inputs.unbind(1):
            product = h @ recurrent
            if self.family == "rnn":
                h = torch.tanh(step + product)
            elif self.family == "lstm":
                i, f, g, o = (step + product).chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            else:
                h = self._gru(h, step, product)
        return h

    def _gru(self, h: torch.Tensor, step: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
        """One step of the GRU that resets after the product."""
        two = 2 * self.hidden
        r, z = torch.sigmoid(step[:, :two] + product[:, :two]).chunk(2, 1)
        n = torch.tanh(step[:, two:] + r * (product[:, two:] + self.bias_hh_l0[two:]))
        return n + z * (h - n)


class Recurrent(nn.Module):
    """`torch_loop.Recurrent`, with cells that can be mapped."""

    def __init__(self, family: str, features: int, hidden: int, num_classes: int) -> None:
        """family: "rnn", "lstm" or "gru"."""
        super().__init__()
        self.cell = Cells(family, features, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of sequences [B, L, D]."""
        return self.head(self.cell(x))


def build(family: str, features: int, hidden: int, num_classes: int) -> nn.Module:
    """The module of one family."""
    if family == "mlp":
        return torch_loop.build(family, features, hidden, num_classes)
    return Recurrent(family, features, hidden, num_classes)


class Stack:
    """M models that are trained at once: stacked parameters, their Adam, and rows [M, n] of the records."""

    def __init__(self, modules: Sequence[nn.Module], rows: torch.Tensor, learning_rate: float) -> None:
        """modules: M equal ones, of which the parameters are taken."""
        base = modules[0]
        stacked, _ = stack_module_state(list(modules))
        self.rows = rows
        self.params = {name: leaf.detach().clone() for name, leaf in stacked.items()}
        # One pass over all parameters instead of ten.
        self._adam = torch.optim.Adam(list(self.params.values()), lr=learning_rate, fused=True)

        def loss(params: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(functional_call(base, params, (x,)), y)

        self.gradients_and_losses = vmap(grad_and_value(loss))

    def train(self, x: torch.Tensor, y: torch.Tensor, epochs: int, batch_size: int) -> None:
        """Go on for so many epochs, each model in an order of its own in each."""
        for _ in range(epochs):
            order = torch.rand(self.rows.shape, device=self.rows.device).argsort(1)
            for batch in self.rows.gather(1, order).split(batch_size, 1):
                gradients, _ = self.gradients_and_losses(self.params, x[batch], y[batch])
                for name, leaf in self.params.items():
                    leaf.grad = gradients[name]
                self._adam.step()


class StackedTrainer(torch_loop.Trainer):
    """What one worker holds: the records, and its models in stacks."""

    def loss_and_gradient(self, weights: dict[str, Any], rows: Any) -> tuple[float, dict[str, Any]]:
        """As of the loop; computed beside a second model, which it must not depend on."""
        torch_loop.use_tf32(False)
        modules = [build(*self.shape).to(self.device) for _ in range(2)]
        modules[0].load_state_dict({name: self._tensor(value) for name, value in weights.items()})
        batch = self._tensor(rows).long()
        batches = torch.stack([batch, batch.flip(0)])
        stack = Stack(modules, batches, self.options["learning_rate"])
        gradients, losses = stack.gradients_and_losses(stack.params, self.x[batches], self.y[batches])
        return losses[0].item(), {name: leaf[0].cpu().numpy() for name, leaf in gradients.items()}

    def begin(self, models: list[int]) -> float:
        """Make the models with these numbers, in the place of those before; the seconds of an epoch.

        So many models at once as train fastest, which takes an epoch of each number tried, after one to
        warm up.
        """
        torch_loop.use_tf32(True)
        best, stacks = math.inf if models else 0.0, []
        self.stacks = self._stacks(models, max(CHUNKS))
        self.train(1)
        for size in sorted({*(chunk for chunk in CHUNKS if chunk < len(models)), len(models)} - {0}):
            self.stacks = self._stacks(models, size)
            seconds = self.train(1)
            if seconds < best:
                best, stacks = seconds, self.stacks
        self.stacks = stacks
        return best

    def train(self, epochs: int) -> float:
        """Train every model, stack after stack; the seconds it took."""
        began = time.perf_counter()
        for stack in self.stacks:
            stack.train(self.x, self.y, epochs, self.options["batch_size"])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def _stacks(self, models: list[int], size: int) -> list[Stack]:
        """New models with these numbers, at most `size` in a stack."""
        chunks = [models[first : first + size] for first in range(0, len(models), size)]
        rate = self.options["learning_rate"]
        return [
            Stack([build(*self.shape).to(self.device) for _ in chunk], self.indices[chunk], rate)
            for chunk in chunks
        ]


if __name__ == "__main__":
    torch_loop.serve(StackedTrainer())
