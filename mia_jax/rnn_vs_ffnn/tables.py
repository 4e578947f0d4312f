"""The tables of the study's page, each a head and its lines, from the kept results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mia_jax.comparison.rows import OTHERS
from mia_jax.report.formatting import signed
from mia_jax.rnn_vs_ffnn.claims import ATTACK
from mia_jax.tradeoff.contrasts import MEAN
from mia_jax.tradeoff.rows import BASELINE
from mia_jax.tradeoff.tables import epsilon_text

STRONG = "lira_online_global"
"""What stands beside the paper's attack where not every attack has room."""

FPR = "tpr_at_fpr_0.01"

FORGOTTEN = "fixed_order"
"""The variant that says whether early records are forgotten."""

AUC_STEP = 0.04
"""AUCs at which accuracies are shown are multiples of this."""

MATCHED = {
    "loss_gap": "equal gap of loss",
    "gap": "equal gap of accuracy",
    "test_accuracy": "equal test accuracy",
}

Row = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Any]]


class Table(NamedTuple):
    """A table, not yet in any markup."""

    head: Sequence[str]
    lines: Sequence[Sequence[Any]]


def differences(results: Results) -> Table:
    """Of every set and attack: the others less the reference after the last epoch, and at each kind of level."""
    lines = []
    for name, one in compared(results):
        family = _others(one)
        for end in _last(_of(one["at_epochs"], variant="", family=family, what="auc")):
            asked = {"variant": "", "family": family, "what": "auc", "attack": end["attack"]}
            found = [next(_of(one["at_levels"], **asked, matched=matched), None) for matched in MATCHED]
            cells = ["" if row is None else f"{number(row)} at {row['level']:g}" for row in found]
            lines.append((name, end["attack"], number(end), *cells))
    return Table(("set", "attack", "last epoch", *MATCHED.values()), lines)


def settings(results: Results) -> Table:
    """Of every config: its records, trainings and models."""
    lines = []
    for name, one in results.items():
        data, trained = one["config"]["data"], one["config"]["training"]
        tradeoff, compared_on = one["config"]["tradeoff"], one["config"]["comparison"]["pools"]
        lines.append(
            (
                name,
                data["pool_size"],
                one["config"]["membership"]["train_size"],
                trained["epochs"],
                trained["batch_size"],
                f"{trained['optimizer']}, {trained['learning_rate']:g}",
                one["config"]["membership"]["num_models"],
                (len(tradeoff["seeds"]) or 1) if tradeoff["grid"] else compared_on,
            )
        )
    head = ("config", "records of a pool", "training records", "epochs", "batch", "optimizer, learning rate")
    return Table((*head, "models a family and pool", "pools"), lines)


def counted(rows: Sequence[Row]) -> str:
    """How many differences are surely above and below nothing, in a sentence."""
    above, below = sum(row["low"] > 0 for row in rows), sum(row["high"] < 0 for row in rows)
    return f"Of {len(rows)} differences {above} are surely above 0 and {below} below."


def signs(results: Results) -> Table:
    """By attack and what is held equal: on how many sets the others are surely above the reference, below, neither."""
    heads = ("last epoch", *MATCHED.values())
    found: dict[str, dict[str, list[int]]] = {}
    for _, one in compared(results):
        family = _others(one)
        asked = {"variant": "", "family": family, "what": "auc"}
        columns = [_last(_of(one["at_epochs"], **asked))]
        columns += [list(_of(one["at_levels"], **asked, matched=matched)) for matched in MATCHED]
        for head, rows in zip(heads, columns, strict=True):
            for row in rows:
                counts = found.setdefault(row["attack"], {}).setdefault(head, [0, 0, 0])
                counts[0 if row["low"] > 0 else 1 if row["high"] < 0 else 2] += 1
    lines = [
        (attack, *(" / ".join(map(str, counts.get(head, ""))) for head in heads))
        for attack, counts in found.items()
    ]
    return Table(("above / below / neither", *heads), lines)


def before_defences(results: Results) -> Table:
    """Of every trade-off: accuracies and what two attacks find of each family without a defence, means over pools."""
    lines = []
    for name, one in defended(results):
        for family in one["config"]["families"]:
            asked = {"family": family, "defence": BASELINE}
            used = list(_of(one["utility"], **asked))
            aucs = (list(_of(one["results"], **asked, attack=attack)) for attack in (ATTACK, STRONG))
            accuracies = (_mean(used, key) for key in ("train_accuracy", "test_accuracy"))
            lines.append((name, family, *accuracies, *(_mean(rows, "auc") for rows in aucs)))
    head = ("set", "family", "accuracy on members", "on others", f"AUC of {ATTACK}", f"of {STRONG}")
    return Table(head, lines)


def families(results: Results) -> Table:
    """Of every set and family, after its last epoch: accuracies and what two attacks find, means over pools."""
    lines = []
    for name, one in compared(results):
        for family in one["config"]["families"]:
            used = list(_of(one["utility"], variant="", family=family))
            paper, strong = (
                list(_of(one["results"], variant="", family=family, attack=attack))
                for attack in (ATTACK, STRONG)
            )
            cells = [
                (used, "train_accuracy"),
                (used, "test_accuracy"),
                (paper, "auc"),
                (paper, "balanced_accuracy"),
            ]
            cells += [(strong, "auc"), (strong, FPR)]
            shown = (_mean(_last(rows), key) for rows, key in cells)
            lines.append((name, family, f"{one['parameters'][''][family]:,}", *shown, len(_last(used))))
    head = (
        "set",
        "family",
        "parameters",
        "accuracy on members",
        "on others",
        "classifier: AUC",
        "balanced accuracy",
    )
    return Table((*head, "LiRA: AUC", "TPR at 1 % FPR", "pools"), lines)


def of_sizes(results: Results) -> list[tuple[str, int, Row]]:
    """Of every set and size of its training sets: the others less the reference after the last epoch."""
    return [
        (name, size, row)
        for name, one in compared(results)
        for variant, size in training_sizes(one).items()
        for row in _last(_of(one["at_epochs"], variant=variant, family=OTHERS, what="auc"))
    ]


def sizes(results: Results) -> Table:
    """A line for each of `of_sizes`."""
    lines = [(name, size, row["attack"], number(row)) for name, size, row in of_sizes(results)]
    return Table(("set", "training records", "attack", "difference of AUC"), lines)


def of_orders(results: Results) -> list[tuple[str, Row]]:
    """Of every set and family under one fixed order: the AUC of early members less that of late ones."""
    return [
        (name, row)
        for name, one in compared(results)
        for row in _of(one["by_order"], variant=FORGOTTEN, part="early less late")
    ]


def orders(results: Results) -> Table:
    """A line for each of `of_orders`."""
    lines = [(name, row["family"], row["attack"], number(row)) for name, row in of_orders(results)]
    return Table(("set", "family", "attack", "early less late"), lines)


def at_equal_strength(results: Results, defences: Sequence[str]) -> Table:
    """Of every strength of some defences: what each of two families loses in accuracy, and what the attack loses."""
    lines = []
    for name, one in defended(results):
        for loss in _of(one["contrasts"], what="accuracy_loss"):
            if loss["defence"] not in defences:
                continue
            where = {key: loss[key] for key in ("defence", "strength", "family_a", "family_b")}
            fall = next(_of(one["contrasts"], what="auc_gain", attack=ATTACK, **where), None)
            shown = loss["strength"] if loss["strength"] == MEAN else f"{loss['strength']:g}"
            lines.append((name, loss["defence"], shown, *_sides(loss), *(_sides(fall) if fall else [""] * 3)))
    heads = (f"{what}: {side}" for what in ("accuracy lost", "AUC taken") for side in _SIDES)
    return Table(("set", "defence", "strength", *heads), lines)


def at_equal_epsilon(results: Results) -> Table:
    """Of noise after training: both families at one epsilon, of the analytic kind; in between by straight lines."""
    lines = []
    for name, one in defended(results):
        for row in _of(one["equal_epsilon"], defence="parameter_noise", kind="analytic"):
            cells = [f"{row[f'{what}_{side}']:.3f}" for what in ("test_accuracy", "auc") for side in "ab"]
            lines.append((name, epsilon_text(row["epsilon"]), f"{row['how_a']} / {row['how_b']}", *cells))
    two = _SIDES[:2]
    heads = (f"{what}: {side}" for what in ("accuracy", "AUC of LiRA") for side in two)
    return Table(("set", "ε", "LSTM / MLP", *heads), lines)


def at_equal_attack(results: Results) -> Table:
    """Of every defence: the accuracy that both families keep where the attack's AUC is held to a level."""
    lines = []
    for name, one in defended(results):
        for row in _of(one["contrasts"], what="accuracy_at_auc", attack=ATTACK):
            if abs(row["auc"] / AUC_STEP - round(row["auc"] / AUC_STEP)) < 1e-6:
                lines.append((name, row["defence"], f"{row['auc']:.2f}", *_sides(row)))
    return Table(("set", "defence", "AUC", *(f"accuracy: {side}" for side in _SIDES)), lines)


def compared(results: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The comparisons with their names."""
    return ((name, one) for name, one in results.items() if "at_epochs" in one)


def defended(results: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The trade-offs with the names of their sets."""
    return ((set_of(name), one) for name, one in results.items() if "contrasts" in one)


def set_of(name: str) -> str:
    """The set of a config, from its name."""
    return name.removeprefix("defences_")


def training_sizes(one: Row) -> dict[str, int]:
    """The number of training records by variant, ascending; empty where it was not varied."""
    changes = one["config"]["comparison"]["variants"]
    varied = {name: change.get("membership", {}).get("train_size", 0) for name, change in changes.items()}
    varied = {name: size for name, size in varied.items() if size}
    every = {**varied, "": one["config"]["membership"]["train_size"]} if varied else {}
    return dict(sorted(every.items(), key=lambda pair: pair[1]))


def by_pool(row: Row) -> str:
    """An estimate in each pool, where there are several."""
    pools = row.get("pools") or ()
    return ", ".join(map(signed, pools)) if len(pools) > 1 else ""


def number(row: Row) -> str:
    """An estimate with its interval."""
    return f"{signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}]"


_SIDES = ("LSTM", "MLP", "LSTM less MLP")


def _others(one: Row) -> str:
    """What stands for all families but the reference."""
    names = [name for name in one["config"]["families"] if name != one["config"]["comparison"]["reference"]]
    return OTHERS if len(names) > 1 else names[0]


def _of(rows: Iterable[Row], **asked: Any) -> Iterator[Row]:
    """The rows that have all that is asked."""
    return (row for row in rows if asked.items() <= row.items())


def _last(rows: Iterable[Row]) -> list[Row]:
    """The rows of the last epoch among them."""
    rows = list(rows)
    last = max((row["epoch"] for row in rows), default=0)
    return [row for row in rows if row["epoch"] == last]


def _mean(rows: Sequence[Row], key: str) -> str:
    """A mean over pools; empty where one has none."""
    found = [row[key] for row in rows if row.get(key) is not None]
    return f"{statistics.fmean(found):.3f}" if found and len(found) == len(rows) else ""


def _sides(row: Row) -> tuple[str, str, str]:
    """Both sides of a contrast and their difference."""
    return _plain(row["value_a"]), _plain(row["value_b"]), number(row)


def _plain(value: float) -> str:
    """A number; what rounds to nothing has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"
