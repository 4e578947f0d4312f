"""Invented but realistic results: scores are drawn, and every number is read off them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

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


@pytest.fixture(scope="session")
def inputs() -> ReportInputs:
    """Two families, seven attacks, six checkpoints."""
    return build()


@pytest.fixture(scope="session")
def make():
    """`build`, for studies of another shape."""
    return build


@pytest.fixture
def change(inputs):
    """Inputs with the rows of the last checkpoint changed: change(where, auc=..., ...)."""

    def changed(where=lambda row: True, base=inputs, **values):
        results = [{**row, **values} if where(row) else dict(row) for row in base.results]
        return dataclasses.replace(base, results=results)

    return changed
