"""The tables of a trade-off study, the same for the terminal and for the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mia_jax.report.cells import Cell, cell
from mia_jax.report.formatting import counted, interval_name, number, percent, rate, tiny
from mia_jax.report.inputs import Row, finite, tpr_key
from mia_jax.tradeoff.rows import (
    BASELINE,
    NAMED_AUDIT,
    STRENGTHS,
    TradeoffRows,
    in_order,
    number_of,
    pooled_audits,
    pooled_privacy,
    strongest_attack,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

ABSENT = "not estimable"

LESS = "differences are the first family less the second, of accuracies in percentage points"

SIDES = ("AUC: first", "second", "difference", "Accuracy: first", "second", "difference")

LOSS = "loss"
"""The attack that is always shown beside the strongest."""


class Table(NamedTuple):
    """A table of ready words. names: how many of the first columns hold names and stand on the left."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 2


def by_strength(rows: TradeoffRows, defence: str) -> Table:
    """Accuracy, AUC and TPR of one defence, a row per family and strength, each family's baseline first."""
    results, titles = rows.results_over_seeds, shown_attacks(rows)
    strongest, body = titles[0] if titles else None, []
    for row in in_order(rows.utility_over_seeds or results):
        if row["defence"] not in (BASELINE, defence) or row.get("attack") not in (None, strongest):
            continue
        attacks = {
            r["attack"]: r for r in results if all(r[k] == row[k] for k in ("family", "defence", "strength"))
        }
        attacked = attacks.get(strongest, {})
        cells = [Cell(row["family"]), Cell(strength_text(row["defence"], row["strength"]))]
        cells += [_cell(row, name, percent) for name in ("train_accuracy", "test_accuracy", "gap")]
        cells += [_cell(attacks.get(name, {}), "auc") for name in titles]
        body.append(cells + [_cell(attacked, tpr_key(fpr), percent, ABSENT) for fpr in rows.fprs])
    heads = ["Family", STRENGTHS.get(defence, "Strength"), "Train accuracy", "Test accuracy", "Gap"]
    heads += [f"AUC of {name}" for name in titles] + [f"TPR at {rate(fpr)} FPR" for fpr in rows.fprs]
    of = f"; TPR of {strongest}" if strongest and rows.fprs else ""
    return Table(
        f"{defence} from weak to strong, {intervals_are(rows)}{of}{_draws(rows, defence)}", heads, body
    )


def equal_strength(found: Sequence[Row]) -> Table:
    """AUC and accuracy of two families at each strength of each defence."""
    body = []
    for row in found:
        cells = [Cell(_at(row), pair(row)), *_sides(row, "auc", number), _difference(row, "auc", number)]
        cells += [*_sides(row, "test_accuracy", percent), _difference(row, "test_accuracy", points)]
        body.append(cells)
    return Table(f"At the same strength; {LESS}", ["At", *SIDES], body, names=1)


def gains(found: Sequence[Row]) -> Table:
    """What a defence takes from the attack and from the accuracy of two families, against their own baselines."""
    body = []
    for row in (row for row in found if row["defence"] != BASELINE):
        cells = [Cell(_at(row), pair(row))]
        for name, style in (("auc_gain", number), ("accuracy_loss", points)):
            cells += [Cell(_signed(row.get(f"{name}_{side}"), style) or "no baseline") for side in "ab"]
            cells.append(_difference(row, name, style))
        body.append(cells)
    heads = ["At", "AUC taken: first", "second", "difference", "Accuracy lost: first", "second", "difference"]
    return Table(f"Against each family's own baseline; {LESS}", heads, body, names=1)


def kept_at_auc(found: Sequence[Row]) -> Table:
    """The accuracy of two families at the same AUC."""
    body = [
        [
            Cell(row["defence"], pair(row)),
            Cell(number(row["auc"], 2)),
            *_sides(row, "test_accuracy", percent),
            _difference(row, "test_accuracy", points),
        ]
        for row in found
    ]
    heads = ["Defence", "AUC", "Accuracy: first", "second", "difference"]
    return Table(f"At the same AUC; {LESS}", heads, body, names=1)


def equal_epsilon(found: Sequence[Row]) -> Table:
    """AUC and accuracy of two families at equal epsilon."""
    body = []
    for row in found:
        how = " / ".join(dict.fromkeys((row["how_a"], row["how_b"])))
        cells = [
            Cell(f"{row['defence']}: {pair(row)}", promise_text(row)),
            Cell(epsilon_text(row["epsilon"]), how),
        ]
        cells += [*_sides(row, "auc", number), _difference(row, "auc", number)]
        cells += [*_sides(row, "test_accuracy", percent), _difference(row, "test_accuracy", points)]
        body.append(cells)
    return Table(f"At the same ε; {LESS}", ["Defence", "ε", *SIDES], body, names=1)


def equal_attack(found: Sequence[Row]) -> Table:
    """The best accuracy of two families where the attack's AUC is bounded."""
    body = []
    for row in found:
        cells = [Cell(row["defence"], pair(row)), Cell(number(row["auc"]))]
        for side in "ab":
            name, where = f"test_accuracy_{side}", row[f"defence_{side}"]
            cells.append(Cell(percent(row[name], "outside"), _ends(row, name, percent)))
            reached = f"AUC {number(row[f'attained_auc_{side}'])}" if where else ""
            cells.append(Cell(_reached(where, row[f"strength_{side}"]), reached))
        body.append([*cells, _difference(row, "test_accuracy", points)])
    heads = ["Defence", "AUC at most", "Accuracy: first", "reached at", "Accuracy: second", "reached at"]
    return Table(f"At the same attack success; {LESS}", [*heads, "Difference"], body, names=1)


def promises(rows: TradeoffRows) -> Table:
    """Every epsilon in theory, with what it is of."""
    body = []
    for row in in_order(pooled_privacy(rows.privacy)):
        cells = [Cell(row["family"]), _arm(row)]
        cells += [Cell(row["unit"]), Cell(row["relation"]), Cell(row["kind"])]
        cells += [Cell(epsilon_text(number_of(row, "epsilon"))), Cell(tiny(row["delta"]))]
        body.append([*cells, Cell(number(row.get("gamma"), 3, "none"))])
    heads = ["Family", "Defence", "Unit", "Relation", "Kind", "ε", "δ", "γ"]
    seeds = f"; the largest of {len(rows.seeds)} seeds" if len(rows.seeds) > 1 else ""
    return Table(f"Upper bounds on ε as accounted for{seeds}", heads, body, names=5)


def audits(rows: TradeoffRows) -> Table:
    """Every lower bound on epsilon; the one named beforehand first."""
    found = sorted(in_order(pooled_audits(rows.audits)), key=lambda row: row["method"] != NAMED_AUDIT)
    body = []
    for row in found:
        ends = _ends(row, "epsilon", lambda value: number(value, 2))
        cells = [Cell(row["family"]), _arm(row)]
        cells += [Cell(row["method"].replace("_", " ")), Cell(row["relation"])]
        cells += [
            Cell(epsilon_text(number_of(row, "epsilon")), ends),
            Cell(epsilon_text(number_of(row, "ceiling"))),
        ]
        cells += [Cell(rate(row["confidence"])), Cell(tiny(row["delta"]))]
        body.append(
            [*cells, *(Cell(number(row.get(name), 0, "unknown", ",")) for name in ("trials", "canaries"))]
        )
    heads = [
        "Family",
        "Defence",
        "Method",
        "Relation",
        "ε at least",
        "Ceiling",
        "Confidence",
        "δ",
        "Trials",
        "Canaries",
    ]
    seeds = f"; the median of {len(rows.seeds)} seeds and their range" if len(rows.seeds) > 1 else ""
    return Table(
        f"Lower bounds on ε, {NAMED_AUDIT.replace('_', ' ')} named beforehand{seeds}", heads, body, names=4
    )


def terminal(rows: TradeoffRows) -> RenderableType:
    """The table of every defence and the named audits beside the theory, for a console of 100 columns or more."""
    from rich.console import Group
    from rich.text import Text

    named = dataclasses.replace(rows, audits=[row for row in rows.audits if row["method"] == NAMED_AUDIT])
    tables = [_brief(by_strength(rows, defence)) for defence in rows.defences or [BASELINE]]
    tables += [promises(rows)] if rows.privacy else []
    tables += [_without(audits(named), "Method", "δ", "Trials", "Canaries")] if named.audits else []
    parts: list[RenderableType] = [Text(f"{rows.title}, {intervals_are(rows)}", style="bold")]
    parts += [_rich(table) for table in tables]
    return Group(*parts, Text("n/e: fewer than one expected false positive.", style="dim"))


def shown_attacks(rows: TradeoffRows) -> list[str]:
    """The strongest attack of the baseline and, where it was run, the attack on the loss."""
    named = [strongest_attack(rows), LOSS]
    return list(dict.fromkeys(name for name in named if name is not None and name in rows.attacks))


def strength_text(defence: str, strength: float | str) -> str:
    """A strength in a table: "0.001", or "mean" over several; "none" for the baseline."""
    return (
        "none" if defence == BASELINE else strength if isinstance(strength, str) else f"{float(strength):g}"
    )


def epsilon_text(epsilon: float | None) -> str:
    """An epsilon in a table: "4.31", "∞" where nothing is promised, "none" where none could be had."""
    if epsilon is None:
        return "none"
    if math.isinf(epsilon):
        return "∞"
    return (
        f"{epsilon:,.0f}"
        if epsilon >= 1000
        else f"{epsilon:.2f}"
        if epsilon >= 0.1 or epsilon == 0
        else f"{epsilon:.2g}"
    )


def promise_text(row: Row) -> str:
    """What an epsilon is of: "accounted, add-or-remove, δ 0.00001"."""
    gamma = "" if row.get("gamma") is None else f", γ {number(row['gamma'])}"
    return f"{row['kind']}, {row['relation']}, δ {tiny(row['delta'])}{gamma}"


def intervals_are(rows: TradeoffRows) -> str:
    """What the values and intervals of the tables are."""
    within, seeds = interval_name(rows.confidence), len(rows.seeds)
    if seeds > 1:
        return f"means over {seeds} seeds with {within}s (Student's t over seeds)"
    return f"with {within}s, of accuracies over models, of attacks over targets and records"


def points(value: Any) -> str:
    """A difference of two rates in percentage points: "1.5"."""
    known = finite(value)
    return "n/e" if known is None else f"{100 * known:.1f}"


def pair(row: Row) -> str:
    """The two families of a comparison."""
    return f"{row['family_a']} - {row['family_b']}"


def _arm(row: Row) -> Cell:
    """A defence with its strength below."""
    return Cell(row["defence"], "" if row["defence"] == BASELINE else f"{float(row['strength']):g}")


def _reached(defence: str | None, strength: float | None) -> str:
    """The arm that is the best of a family."""
    if defence is None or strength is None:
        return ""
    return "baseline" if defence == BASELINE else strength_text(defence, strength)


def _at(row: Row) -> str:
    """A defence and its strength."""
    return (
        "baseline"
        if row["defence"] == BASELINE
        else f"{row['defence']} {strength_text(row['defence'], row['strength'])}"
    )


def _cell(row: Row, name: str, style: Callable[..., str] = number, absent: str = "not computed") -> Cell:
    """An estimate; where its row is not there, that it was not computed."""
    return cell(row, name, style, absent if name in row else "not computed")


def _signed(value: Any, style: Callable[..., str]) -> str:
    """A change with its sign; empty where there is none."""
    known = finite(value)
    return "" if known is None else f"{'-' if known < 0 else '+'}{style(abs(known))}"


def _difference(row: Row, name: str, style: Callable[..., str]) -> Cell:
    """A difference of two families with its interval."""
    ends = [row.get(f"{name}_difference{end}") for end in ("_low", "_high")]
    within = "" if None in ends else f"{_signed(ends[0], style)} to {_signed(ends[1], style)}"
    return Cell(_signed(row.get(f"{name}_difference"), style), within)


def _sides(row: Row, name: str, style: Callable[..., str]) -> list[Cell]:
    """The estimates of both families."""
    return [
        Cell("outside") if finite(row[f"{name}_{s}"]) is None else cell(row, f"{name}_{s}", style)
        for s in "ab"
    ]


def _ends(row: Row, name: str, style: Callable[..., str]) -> str:
    """The interval of an estimate; empty where there is none."""
    ends = [finite(row.get(f"{name}{end}")) for end in ("_low", "_high")]
    return "" if None in ends else f"{style(ends[0])} to {style(ends[1])}"


def _draws(rows: TradeoffRows, defence: str) -> str:
    """How many draws of noise each model was released with."""
    draws = {row["draws"] for row in rows.results if row["defence"] == defence and row.get("draws")}
    return (
        f"; {' or '.join(counted(n, 'draw') for n in sorted(draws))} of noise for each model" if draws else ""
    )


def _brief(table: Table) -> Table:
    """A table by strength that fits a console: intervals of the test accuracy and the first AUC only."""
    short, body = _without(table, "Train accuracy", "Gap"), []
    for cells in short.rows:
        brief = [Cell("n/e" if value == ABSENT else value) for value, _ in cells]
        body.append([*brief[:2], *cells[2:4], *brief[4:]])
    return Table(table.caption.split(",")[0], short.heads, body)


def _without(table: Table, *heads: str) -> Table:
    """A table without some of its columns."""
    kept = [place for place, head in enumerate(table.heads) if head not in heads]
    names = sum(place < table.names for place in kept)
    rows = [[row[place] for place in kept] for row in table.rows]
    return Table(table.caption, [table.heads[place] for place in kept], rows, names)


def _rich(table: Table) -> RichTable:
    """A table on a terminal, intervals in brackets."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(
        title=Text(table.caption),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        collapse_padding=True,
    )
    for place, head in enumerate(table.heads):
        name, lines = place < table.names, head.replace(" of ", " of\n").replace(" at ", " at\n")
        made.add_column(Text(lines), justify="left" if name else "right", overflow="fold", no_wrap=not name)
    for row in table.rows:
        made.add_row(
            *(Text(_in_line(value, within, place < table.names)) for place, (value, within) in enumerate(row))
        )
    return made


def _in_line(value: str, within: str, name: bool) -> str:
    """A cell as one line: "0.764 [0.741, 0.787]", "dp_sgd 4"."""
    if not within:
        return value
    return f"{value} {within}" if name else f"{value} [{within.replace('%', '').replace(' to ', ', ')}]"
