"""The account command: epsilon of a noise multiplier, or the noise multiplier of an epsilon, without training."""

from __future__ import annotations

import math
from typing import Any, get_args

from absl import flags

from mia_jax.cli.start import start
from mia_jax.config import ConfigError

MEANINGS = {
    "add_or_remove": "one record is in the data or is not",
    "replace": "one record is replaced by any other",
}


NEEDED = {
    "num_examples": "the number of records trained on",
    "batch_size": "the expected size of a batch",
    "delta": "a probability well below 1/num_examples",
}


def account() -> None:
    """What DP-SGD costs, or how much noise a budget needs; nothing is trained.

    Give the sizes, --delta, and either --noise_multiplier or --target_epsilon:
      python scripts/account.py --num_examples=1000 --batch_size=64 --steps=480 --delta=1e-5 --noise_multiplier=1.1
      python scripts/account.py --num_examples=1000 --batch_size=64 --epochs=30 --delta=1e-5 --target_epsilon=4
    """
    from mia_jax.privacy import events

    flags.DEFINE_integer("num_examples", None, "Records trained on.")
    flags.DEFINE_integer("batch_size", None, "Expected size of a batch.")
    flags.DEFINE_integer("steps", None, "Steps of the whole training.")
    flags.DEFINE_integer(
        "epochs", None, "Instead of --steps: epochs of num_examples/batch_size steps, rounded up."
    )
    flags.DEFINE_float(
        "delta", None, "What is added to the bound e^epsilon on every event; well below 1/num_examples."
    )
    flags.DEFINE_float(
        "noise_multiplier", None, "Standard deviation of the noise over the clip norm; epsilon is answered."
    )
    flags.DEFINE_float("target_epsilon", None, "A budget; the noise multiplier that keeps to it is answered.")
    flags.DEFINE_enum("accountant", "pld", get_args(events.Accountant), "pld: tight; rdp: looser, and quick.")
    flags.DEFINE_enum(
        "sampling",
        "poisson",
        get_args(events.Sampling),
        "How batches are drawn (docs/defences.md).",
    )
    flags.DEFINE_integer(
        "max_batch", None, "With --sampling=truncated_poisson: the size that batches are cut to."
    )
    flags.DEFINE_enum(
        "relation",
        "add_or_remove",
        get_args(events.Relation),
        "Neighbours: a record is there or not; or is another.",
    )

    def main() -> None:
        try:
            print("\n".join(_answer()))
        except ValueError as error:
            field = str(error).split(" ", 1)[0]
            raise ConfigError(f"--{error}" if field in flags.FLAGS else str(error)) from error

    start(main, account)


def _answer() -> list[str]:
    """The lines that are printed. Raises ValueError."""
    from mia_jax.privacy import accounting, events

    given = flags.FLAGS
    training = _training()
    if (given.noise_multiplier is None) == (given.target_epsilon is None):
        raise ValueError("--noise_multiplier or --target_epsilon: give one of them, the other is the answer.")
    sigma, lines = given.noise_multiplier, []
    if sigma is None:
        sigma = _shown(accounting.noise_multiplier(target_epsilon=given.target_epsilon, **training))
        lines.append(f"noise multiplier {sigma:g} keeps epsilon at or below {given.target_epsilon:g}")
    cost = accounting.epsilon(noise_multiplier=sigma, **training)
    lines.append(f"epsilon {cost:.4g}" + (": nothing is promised" if math.isinf(cost) else ""))
    lines += [
        f"  {events.describe(noise_multiplier=sigma, **training)}",
        _other_relation(sigma, training),
        "",
    ]
    lines.append(
        f"delta     {given.delta:g}: what is added to e^epsilon times the probability of every event."
    )
    if given.delta * given.num_examples >= 1:
        lines.append(
            f"warning   delta is {given.delta:g}, not below 1/num_examples, {1 / given.num_examples:g}: such a promise "
            "may give whole records away; give a smaller --delta."
        )
    lines.append(f"relation  {given.relation}: two data sets are neighbours if {_meaning(training)}.")
    return lines


def _training() -> dict[str, Any]:
    """The flags that `accounting.epsilon` takes, but for the noise. Raises ValueError for one that is missing."""
    given = flags.FLAGS
    for name, what in NEEDED.items():
        if given[name].value is None:
            raise ValueError(f"--{name} is missing: give {what}. --help lists the flags.")
    if (given.steps is None) == (given.epochs is None):
        raise ValueError("--steps or --epochs: give one of them.")
    names = (
        "num_examples",
        "batch_size",
        "steps",
        "delta",
        "accountant",
        "sampling",
        "max_batch",
        "relation",
    )
    training = {name: given[name].value for name in names}
    if given.epochs is not None:
        if given.epochs < 0 or given.batch_size < 1:
            raise ValueError(
                f"--epochs and --batch_size are {given.epochs} and {given.batch_size}: they must be at least 0 and 1."
            )
        training["steps"] = given.epochs * -(-given.num_examples // given.batch_size)
    return training


def _shown(sigma: float) -> float:
    """A noise multiplier as it is printed, with 5 digits: rounded up, so that what is typed keeps to the budget."""
    digit = 10.0 ** (math.floor(math.log10(sigma)) - 4) if sigma > 0 else 1.0
    return float(f"{math.ceil(sigma / digit) * digit:.5g}")


def _other_relation(sigma: float, training: dict[str, Any]) -> str:
    """The same training under the other relation."""
    from mia_jax.privacy import accounting

    other = next(name for name in MEANINGS if name != training["relation"])
    try:
        cost = accounting.epsilon(noise_multiplier=sigma, **(training | {"relation": other}))
    except ValueError as error:
        return f"  under {other}: {error}"
    return f"  under {other}: epsilon {cost:.4g}, {_meaning(training | {'relation': other})}"


def _meaning(training: dict[str, Any]) -> str:
    """What makes two data sets neighbours."""
    if training["sampling"] == "shuffle" and training["relation"] == "add_or_remove":
        return "one record is as it is or has no gradient, in the same place"
    return MEANINGS[training["relation"]]
