"""What each figure shows and how to read it."""

from __future__ import annotations

from mia_jax.report import selection
from mia_jax.report.formatting import rate
from mia_jax.report.inputs import ReportInputs


def caption(inputs: ReportInputs, name: str) -> str:
    """The caption of a figure; its name where it is not one of the report's own."""
    last, within = inputs.at_last, f"{rate(inputs.confidence)} interval"
    captions = {
        "exposure_by_attack": f"How well each attack does{last}: points with {within}s. The dotted line is "
        f"guessing. Where a point is absent, the rate is not estimable.{_sorted(inputs)}",
        "roc": f"ROC curves on logarithmic axes{last}: how many members are found (up) for how many "
        "non-members accused (right). The dotted diagonal is guessing; vertical lines mark the "
        "false-positive rates of the table. Where a curve runs straight, scores are tied: no threshold lies within, "
        f"and the table reads no rate there. What counts for privacy is the left side.{_rule(inputs)}",
        "score_distributions": f"Scores of members (filled) and non-members (dark line){last}. The more they "
        f"overlap, the less an attacker learns.{_rule(inputs)}",
        "exposure_over_training": f"AUC of each attack over training, with {within}s as bands{_gap(inputs)}."
        f"{_rule(inputs)}",
        "exposure_by_group": f"AUC within each group of records under {_grouped(inputs)}{last}, with "
        f"{within}s; dashed: over all records of the family; dotted: guessing. Which groups differ from the "
        f"rest once all are taken together is said in the table.{_cut(inputs)}",
    }
    return captions.get(name, name.replace("_", " ").capitalize() + ".")


def _rule(inputs: ReportInputs) -> str:
    """Which attacks a figure leaves out."""
    return f" {rule}" if (rule := selection.rule(inputs)) else ""


def _sorted(inputs: ReportInputs) -> str:
    """In which order many attacks are drawn."""
    many = len(inputs.attack_names) > selection.SHOWN
    on_any = " on any family" if len(inputs.families) > 1 else ""
    return f" Attacks are ordered by their highest AUC{on_any}." if many else ""


def _gap(inputs: ReportInputs) -> str:
    """The first panel, where there is one."""
    return "; first the generalisation gap, to be read beside them" if inputs.utility else ""


def _grouped(inputs: ReportInputs) -> str:
    """The attack of the figure of groups."""
    return f"“{inputs.title_of(selection.grouped_attack(inputs))}”" if inputs.slices else "one attack"


def _cut(inputs: ReportInputs) -> str:
    """Which groups a figure leaves out."""
    kinds: dict[str, set[str]] = {}
    for row in inputs.slices:
        kinds.setdefault(row["slice"], set()).add(str(row["value"]))
    if all(len(values) <= selection.SHOWN_GROUPS for values in kinds.values()):
        return ""
    return f" Of more than {selection.SHOWN_GROUPS} groups of one kind, those with the highest AUC are shown."
