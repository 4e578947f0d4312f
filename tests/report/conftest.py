"""Invented but realistic results: scores are drawn, and every number is read off them."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest

from mia_jax.config import AttackName
from mia_jax.report.inputs import AttackCard, Curve, Histogram, ReportInputs

FPRS = (0.1, 0.01, 0.001)
TITLES = {
    "loss": "Loss threshold",
    "lira_online": "LiRA, online",
    "lira_online_global": "LiRA, online, global variance",
    "lira_offline": "LiRA, offline",
    "lira_offline_global": "LiRA, offline, global variance",
    "rmia_online": "RMIA, online",
    "rmia_offline": "RMIA, offline",
}
EXPOSURE = {  # family -> attack -> (AUC, share of members that stand out)
    "lstm": dict(
        zip(
            TITLES,
            [(0.65, 0), (0.73, 0.03), (0.76, 0.06), (0.68, 0.01), (0.71, 0.03), (0.75, 0.04), (0.72, 0.03)],
            strict=True,
        )
    ),
    "mlp": dict(
        zip(
            TITLES,
            [(0.60, 0), (0.70, 0.04), (0.73, 0.07), (0.64, 0.02), (0.67, 0.04), (0.735, 0.06), (0.69, 0.03)],
            strict=True,
        )
    ),
}
UTILITY = {"lstm": (0.998, 0.837, 6_900), "mlp": (1.0, 0.916, 6_912)}


def _auc_shift(auc: float) -> float:
    """The shift of a unit normal that has this AUC, by bisection on drawn normals' formula."""
    import math

    low, high = 0.0, 6.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * (1 + math.erf(middle / 2)) < auc else (low, middle)
    return low


def draw_scores(rng, auc, share, size):
    """Scores of non-members and of members, of whom a share stands far out."""
    shift = _auc_shift((auc - share) / (1 - share))
    members = rng.normal(shift, 1, size)
    members[: int(share * size)] = rng.normal(4.5, 0.5, int(share * size))
    return rng.normal(0, 1, size), members


def curve(negative, positive):
    """The ROC curve without interpolation, thinned to 300 points."""
    thresholds = np.sort(np.concatenate([negative, positive]))[::-1]
    fpr = np.searchsorted(np.sort(-negative), -thresholds, side="right") / negative.size
    tpr = np.searchsorted(np.sort(-positive), -thresholds, side="right") / positive.size
    keep = np.unique(np.geomspace(1, thresholds.size, 300).astype(int) - 1)
    return Curve(np.r_[0, fpr[keep], 1], np.r_[0, tpr[keep], 1])


def _row(family, attack, checkpoint, epoch, shape, size, half=0.018):
    auc = 0.5 + (shape.auc - 0.5)
    row = {"family": family, "attack": attack, "checkpoint": checkpoint, "epoch": epoch}
    row |= {"auc": auc, "auc_low": auc - half, "auc_high": auc + half}
    accuracy = 0.5 + 0.75 * (auc - 0.5)
    row |= {"balanced_accuracy": accuracy, "balanced_accuracy_low": accuracy - half}
    row |= {"balanced_accuracy_high": accuracy + half, "target_auc": auc + 0.004}
    for fpr in FPRS:
        tpr, key = shape.tpr(fpr), f"tpr_at_fpr_{fpr:g}"
        spread = 1.2 * half * np.sqrt(tpr + fpr)
        row |= {key: tpr, f"{key}_low": max(0.0, tpr - spread), f"{key}_high": tpr + spread}
        row[f"target_{key}"] = None if fpr < 0.005 else tpr
    return row | {"targets": 32, "records": 400, "missing": 0}


class Shape:
    """An ROC curve and what is read off it."""

    def __init__(self, roc):
        self.roc = roc
        self.auc = float(np.trapezoid(roc.tpr, roc.fpr))

    def tpr(self, fpr):
        return float(self.roc.tpr[np.searchsorted(self.roc.fpr, fpr, side="right") - 1])


def build(exposure=EXPOSURE, checkpoints=6, size=6400, half=0.018):
    """Report inputs of a study with these families and attacks."""
    rng = np.random.default_rng(0)
    epochs = [round(60 ** (i / max(1, checkpoints - 1))) for i in range(checkpoints)]
    results, utility, curves, histograms, comparisons = [], [], {}, {}, []
    for family, attacks in exposure.items():
        train, test, parameters = UTILITY.get(family, (0.99, 0.88, 7_000))
        for place, epoch in enumerate(epochs):
            grown = (place + 1) / checkpoints
            row = {"family": family, "checkpoint": place, "epoch": epoch, "num_parameters": parameters}
            values = {
                "train_accuracy": 0.4 + (train - 0.4) * grown,
                "test_accuracy": 0.4 + (test - 0.4) * grown,
            }
            values["gap"] = values["train_accuracy"] - values["test_accuracy"]
            for name, value in values.items():
                row |= {name: value, f"{name}_low": value - 0.006, f"{name}_high": min(1.0, value + 0.006)}
            utility.append(row | {"models": 32})
        for attack, (auc, share) in attacks.items():
            for place, epoch in enumerate(epochs):
                grown = (place + 1) / checkpoints
                scores = draw_scores(rng, 0.5 + (auc - 0.5) * grown, share * grown, size)
                shape = Shape(curve(*scores))
                results.append(_row(family, attack, place, epoch, shape, size, half))
            curves[family, attack] = shape.roc
            edges = np.linspace(-4, 7, 56)
            densities = [np.histogram(part, edges, density=True)[0] for part in scores]
            histograms[family, attack] = Histogram(edges, densities[1], densities[0])
    names = list(exposure)
    last = {(r["family"], r["attack"]): r["auc"] for r in results if r["checkpoint"] == checkpoints - 1}
    for first, second in [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]:
        for attack in exposure[first]:
            gap = last[first, attack] - last[second, attack]
            row = {"attack": attack, "family_a": first, "family_b": second, "difference": gap}
            comparisons.append(row | {"low": gap - 0.02, "high": gap + 0.02})
    attacks = list(dict.fromkeys(attack for family in exposure.values() for attack in family))
    return ReportInputs(
        title="Digits: LSTM and MLP of equal size",
        config={
            "name": "digits",
            "seed": 7,
            "data": {"source": "digits", "pool_size": 400, "population_size": 400},
            "membership": {"num_models": 32, "train_size": 200, "design": "fixed_size"},
            "families": {name: {"kind": name} for name in names},
            "training": {"epochs": 60, "batch_size": 32, "optimizer": "adam", "learning_rate": 3e-3},
            "report": {"confidence": 0.95, "fpr": FPRS},
        },
        environment={"started": "2025-01-01 12:00 UTC", "jax": "0.10.2", "numpy": "2.4.6", "device": "cpu"},
        data_facts={
            "records": 1797,
            "classes": 10,
            "duplicates_dropped": 0,
            "parts": {"pool": 400, "test": 997},
        },
        command="mia-run --config configs/digits.py --run_dir runs/digits",
        utility=utility,
        results=results,
        curves=curves,
        histograms=histograms,
        comparisons=comparisons,
        attacks={
            name: AttackCard(
                TITLES.get(name, name.replace("_", " ")),
                "The attacker asks the target about each record once and holds 31 shadow models.",
                "Carlini et al. 2022, Algorithm 1",
            )
            for name in attacks
        },
    )


def slice_rows(inputs, classes=10):
    """For every family and attack the AUC of each class, the last the most exposed, and of right answers."""
    rows = []
    last = [row for row in inputs.results if row["checkpoint"] == inputs.results[-1]["checkpoint"]]
    for row in last:
        for name, values in (("class", range(classes)), ("correct", ("no", "yes"))):
            for place, value in enumerate(values):
                away = 0.2 if (name, place) == ("class", classes - 1) else 0.01 * (place % 3 - 1)
                auc = min(0.98, row["auc"] + away)
                entry = {"family": row["family"], "attack": row["attack"], "slice": name, "value": str(value)}
                entry |= {"records": 40, "members": 640, "others": 640}
                entry |= {"auc": auc, "auc_low": auc - 0.05, "auc_high": min(1.0, auc + 0.05)}
                for fpr in FPRS:
                    tpr = None if fpr < 0.005 else row[f"tpr_at_fpr_{fpr:g}"]
                    entry |= {f"tpr_at_fpr_{fpr:g}": tpr}
                    entry |= {f"tpr_at_fpr_{fpr:g}_{end}": tpr for end in ("low", "high")}
                rows.append(entry | {"p_holm": 0.0004 if away == 0.2 else 1.0})
    return rows


def exposed_rows(count=20):
    """The records that stand out most, invented."""
    return [
        {
            "record": 17 * place + 3,
            "label": place % 10,
            "attack": "lira_online",
            "times_in": 16,
            "times_out": 15,
        }
        | {
            "auc": 1.0 - 0.004 * place,
            "auc_error": 0.001 + 0.002 * place,
            "tpr": 0.9 - 0.01 * place,
            "fpr": 0.0,
        }
        for place in range(count)
    ]


def audit_rows(families=("lstm", "mlp")):
    """Two kinds of audits of every family."""
    kinds = (
        ("one run", "add-or-remove", 1.234, 3.71, 64, "Holds for the training that made this model."),
        (
            "independent trials",
            "replace-one",
            0.0,
            2.05,
            32,
            "Holds for the most exposed canary, chosen before.",
        ),
    )
    rows = []
    for family in families:
        for method, relation, epsilon, ceiling, trials, meaning in kinds:
            row = {"family": family, "method": method, "relation": relation, "epsilon": epsilon}
            row |= {"ceiling": ceiling, "delta": 1e-5, "confidence": 0.95, "trials": trials, "canaries": 64}
            rows.append(row | {"meaning": meaning})
    return rows


def build_many(families=("lstm", "mlp"), attacks=35, checkpoints=3, size=800):
    """A study with everything a report can show."""
    names = [name for name in typing.get_args(AttackName) if name != "all"]
    names = [names[place % len(names)] + "_" * (place // len(names)) for place in range(attacks)]
    exposure = {
        family: {
            name: (0.5 + 0.009 * (place * 7 % 35) - 0.03 * at, 0.04 * (place % 2))
            for place, name in enumerate(names)
        }
        for at, family in enumerate(families)
    }
    base = build(exposure, checkpoints, size)
    results = []
    for row in base.results:
        extra = {"advantage": 2 * row["balanced_accuracy"] - 1}
        for fpr in FPRS:
            extra |= {f"ppv_at_fpr_{fpr:g}": row[f"tpr_at_fpr_{fpr:g}"] / (row[f"tpr_at_fpr_{fpr:g}"] + fpr)}
        ends = {f"{key}_{end}": value for key, value in extra.items() for end in ("low", "high")}
        results.append(row | extra | ends)
    config = base.config | {"report": base.config["report"] | {"prior": 0.5}}
    values = {"results": results, "slices": slice_rows(base), "config": config}
    values |= {"exposed": {family: exposed_rows() for family in families}, "audits": audit_rows(families)}
    values |= {"comparisons": [row | {"p": 0.01, "p_holm": 0.2} for row in base.comparisons]}
    values["skipped"] = {
        families[0]: {"shadow_classifier_steps": "needs step_logits, which were not recorded"}
    }
    values["notes"] = ["log_prob was worked out from logits and labels."]
    return dataclasses.replace(base, **values)


def build_own():
    """Somebody's own arrays: no training, no utility, one family, two attacks left out."""
    base = build({"own": EXPOSURE["lstm"]}, checkpoints=1)
    reasons = dict.fromkeys(("gradient_norm", "embedding_norm"), "needs arrays that are not there")
    return dataclasses.replace(
        base,
        title="signals",
        utility=[],
        config={"report": {"confidence": 0.95, "fpr": FPRS, "prior": 0.5}, "attacks": {"names": ["all"]}},
        environment={"started": "2025-01-01 12:00 UTC", "jax": "0.10.2"},
        data_facts={"file": "signals.npz", "models": 32, "records": 400},
        slices=slice_rows(base),
        exposed={"own": exposed_rows(5)},
        skipped={"own": reasons},
        notes=["log_prob was worked out from logits and labels.", "member held 0/1 integers, taken as such."],
    )


@pytest.fixture(scope="session")
def inputs() -> ReportInputs:
    """Two families, seven attacks, six checkpoints."""
    return build()


@pytest.fixture(scope="session")
def make():
    """`build`, for studies of another shape."""
    return build


@pytest.fixture(scope="session")
def many() -> ReportInputs:
    """Two families, 35 attacks, slices, exposed records, audits, skipped attacks and notes."""
    return build_many()


@pytest.fixture(scope="session")
def own() -> ReportInputs:
    """A report of somebody's own arrays."""
    return build_own()


@pytest.fixture(scope="session")
def slices_of():
    """`slice_rows`, for another number of classes."""
    return slice_rows


@pytest.fixture(scope="session")
def audits_of():
    """`audit_rows`, for other families."""
    return audit_rows


@pytest.fixture
def change(inputs):
    """Inputs with the rows of the last checkpoint changed: change(where, auc=..., ...)."""

    def changed(where=lambda row: True, base=inputs, **values):
        results = [{**row, **values} if where(row) else dict(row) for row in base.results]
        return dataclasses.replace(base, results=results)

    return changed
