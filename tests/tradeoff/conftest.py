"""Small trade-off studies with known answers: no models, only rows."""

import math
import types

import pytest

from mia_jax.tradeoff.rows import TradeoffRows

AUCS = {"lstm": 0.78, "mlp": 0.64}
STRENGTHS = {
    "l2": [1e-4, 1e-3, 1e-2, 1e-1],
    "dropout": [0.1, 0.3, 0.5],
    "dp_sgd": [1.0, 2.0, 4.0, 8.0],
    "parameter_noise": [0.01, 0.03, 0.1],
}


def between(name, value, width=0.01):
    return {name: value, f"{name}_low": value - width, f"{name}_high": value + width}


def utility(family, defence, strength, accuracy, seed=0):
    row = {"seed": seed, "family": family, "defence": defence, "strength": strength, "models": 64}
    row |= {"num_parameters": 1000} | between("train_accuracy", accuracy + 0.1)
    return row | between("test_accuracy", accuracy) | between("gap", 0.1)


def result(family, defence, strength, attack, auc, seed=0):
    row = {"seed": seed, "family": family, "defence": defence, "strength": strength, "attack": attack}
    row |= between("auc", auc) | between("balanced_accuracy", 0.5 + (auc - 0.5) / 2)
    tpr = {"tpr_at_fpr_0.01": None, "tpr_at_fpr_0.01_low": None, "tpr_at_fpr_0.01_high": None}
    return row | between("tpr_at_fpr_0.1", auc - 0.4) | tpr | {"targets": 64, "records": 500}


def promise(family, defence, strength, epsilon, seed=0, kind="accounted", relation="add-or-remove"):
    row = {"seed": seed, "family": family, "defence": defence, "strength": strength, "unit": "record"}
    row |= {"kind": kind, "relation": relation, "epsilon": epsilon, "delta": 1e-5, "gamma": None}
    return row | {"meaning": f"{kind}: a sentence on how."}


def audit(family, defence, strength, epsilon, seed=0, method="joint_runs"):
    row = {"seed": seed, "family": family, "defence": defence, "strength": strength, "method": method}
    row |= {"relation": "add-or-remove", "epsilon": epsilon, "ceiling": 6.0, "delta": 1e-5}
    return row | {"confidence": 0.95, "trials": 480, "canaries": 960, "meaning": "Joint runs of canaries."}


def contrast(a, b, width):
    """The numbers of a contrast of two families."""
    ends = {"value": a - b, "low": a - b - width, "high": a - b + width}
    return ends | {"value_a": a, "value_b": b, "pools": [a - b]}


def promises_of(family, defence, strength, seed):
    if defence == "dp_sgd":
        accounted = promise(family, defence, strength, 0.999 * strength, seed)
        return [accounted, promise(family, defence, strength, 1.7 * strength, seed, relation="replace-one")]
    if defence == "parameter_noise":
        scale = (3.0 if family == "lstm" else 1.5) / strength if strength else math.inf
        rows = [promise(family, defence, strength, scale, seed, "analytic", "replace-one")]
        rows.append(promise(family, defence, strength, 1.2 * scale, seed, "nominal", "replace-one"))
        return [row | {"gamma": 0.16, "unit": "record"} for row in rows]
    return []


def study(families=("lstm", "mlp"), strengths=STRENGTHS, seeds=(0,), audited=True):
    """A study whose defences take AUC and accuracy the further the stronger they are."""
    rows = {"utility": [], "results": [], "privacy": [], "audits": []}
    for seed in seeds:
        for family in families:
            auc, shift = AUCS.get(family, 0.7), 0.004 * (seed % 5)
            arms = [("none", 0.0, 0.0)]
            for defence, values in strengths.items():
                ordered = sorted(values, reverse=defence == "dp_sgd")
                arms += [(defence, value, (i + 1) / len(ordered)) for i, value in enumerate(ordered)]
            for defence, strength, share in arms:
                left = auc + shift - share * (auc - 0.52) * (0.8 if family == "lstm" else 1)
                kept = 0.8 - shift - 0.2 * share**2 - (0.05 if family == "mlp" else 0)
                rows["utility"].append(utility(family, defence, strength, kept, seed))
                rows["results"].append(result(family, defence, strength, "lira_online", left, seed))
                rows["results"].append(
                    result(family, defence, strength, "loss", 0.5 + (left - 0.5) / 2, seed)
                )
                rows["privacy"] += promises_of(family, defence, strength, seed)
                if audited:
                    epsilon = max(0.0, 3.0 - 3.0 * share - (0.2 if family == "mlp" else 0))
                    rows["audits"].append(audit(family, defence, strength, epsilon, seed))
    return TradeoffRows(
        title="Synthetic trade-offs",
        **rows,
        config={"seed": 0, "limit": math.inf},
        facts={"Families": "lstm, mlp", "Models": 64},
    )


@pytest.fixture(scope="session")
def make():
    """`study`, for tests to vary."""
    return study


@pytest.fixture(scope="session")
def row():
    """Single rows: utility, result, promise, audit, and a contrast's numbers, for tests with numbers of their own."""
    return types.SimpleNamespace(
        utility=utility, result=result, promise=promise, audit=audit, contrast=contrast
    )


@pytest.fixture(scope="session")
def one_seed():
    """A study of one seed."""
    return study()


@pytest.fixture(scope="session")
def many_seeds():
    """A study of four seeds."""
    return study(seeds=(0, 1, 2, 3))
