"""Made-up studies of dynamics with known shapes: no models, only rows."""

import itertools

import numpy as np
import pytest

from mia_jax.dynamics_study.rows import CURVES, Arm, Claim, DynamicsRows, Interval, Shown

CUTS = (0.2, 0.5)
EVIL = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> & \"'`"


def rates(rng, checkpoints, records, pace, models):
    """Records that drift from (.5, .5) towards (0, 1), the exposed ones further; shares of models."""
    exposure = rng.beta(0.8, 1.6, records)
    progress = 1 / (1 + np.exp(6 - 10 * pace * np.linspace(0, 1, checkpoints)[:, None] - 2 * exposure))
    drift = 0.5 * exposure * progress
    each = rng.binomial(models, 0.5, records).clip(2, models - 2)
    fpr = rng.binomial(models - each, 0.5 - 0.8 * drift) / (models - each)
    tpr = rng.binomial(each, 0.5 + drift) / each
    fpr_error, tpr_error = (
        np.sqrt((rate + 0.05) * (1.05 - rate) / count) for rate, count in ((fpr, models - each), (tpr, each))
    )
    return fpr, tpr, fpr_error, tpr_error, exposure


def at_ends(values):
    """What belongs to intervals, at the ends of the intervals."""
    return np.concatenate([[np.nan], values])


def curves(rng, fpr, tpr, epochs):
    """Curves that are what they say, or plausible where that would take models."""
    v, steps = tpr - fpr, np.diff(epochs)
    speed = np.hypot(np.diff(fpr, axis=0), np.diff(tpr, axis=0)).mean(axis=1) / steps
    high, final = v >= CUTS[-1], v[-1] >= CUTS[-1]
    entering = (high[1:] & ~high[:-1]).sum(axis=1) / np.maximum((~high[:-1]).sum(axis=1), 1)
    share = np.clip(v.mean(axis=1) / max(v[-1].mean(), 1e-9), 0, 1)
    found = {
        "vulnerability": v.mean(axis=1),
        "center_fpr": fpr.mean(axis=1),
        "center_tpr": tpr.mean(axis=1),
        "speed": at_ends(speed),
        "speed_floor": at_ends(np.full(len(steps), 0.4 * speed.mean())),
        "signed_speed": at_ends(np.diff(v.mean(axis=1)) / steps),
        "entropy": 5 + 2 * share,
        "clustering": 3 - share,
        "low": (v < CUTS[0]).mean(axis=1),
        "high": high.mean(axis=1),
        "entry": at_ends(entering),
        "early_recall": (high & final).sum(axis=1) / max(final.sum(), 1),
        "early_precision": (high & final).sum(axis=1) / np.where(high.any(axis=1), high.sum(axis=1), np.nan),
        "early_jaccard": (high & final).sum(axis=1) / np.maximum((high | final).sum(axis=1), 1),
        "early_ratio": share,
        "train_accuracy": 0.5 + 0.5 * share,
        "test_accuracy": 0.5 + 0.3 * share + 0.002 * rng.standard_normal(len(share)),
    }
    return {name: found[name] for name in CURVES}


def transitions(v):
    """Shares of records that pass between the states, by a count."""
    at = np.digitize(v, CUTS)
    counts = np.zeros((len(v) - 1, 3, 3))
    for step, (before, after) in enumerate(itertools.pairwise(at)):
        np.add.at(counts[step], (before, after), 1)
    return counts / np.where(counts.any(axis=2), counts.sum(axis=2), np.nan)[..., None]


def interval(value, width=0.02):
    return Interval(float(value), float(value - width), float(value + width))


def numbers(found, fpr, tpr):
    """Numbers of an arm, from its curves, with intervals of one made-up width."""
    values = {
        "vulnerability": found["vulnerability"][-1],
        "high": found["high"][-1],
        "displacement": np.hypot(*(rate.mean(axis=1)[-1] - rate.mean(axis=1)[0] for rate in (fpr, tpr))),
        "speed": np.nanmean(found["speed"]),
        "speed_floor": np.nanmean(found["speed_floor"]),
        "peak_speed": np.nanmax(found["speed"]),
        "signed_speed": np.nanmean(found["signed_speed"]),
        "entropy_change": found["entropy"][-1] - found["entropy"][0],
        "clustering": found["clustering"][-1],
        "peak_entry": np.nanmax(found["entry"]),
        "early_recall": 0.41,
        "early_ceiling": 0.62,
        "early_ratio": 0.66,
        "rank_epoch_learned": 0.52,
        "rank_out_error": 0.61,
        "rank_prediction_depth": 0.33,
        "test_accuracy": found["test_accuracy"][-1],
        "train_accuracy": found["train_accuracy"][-1],
    }
    made = {name: interval(value, 0.1 * abs(value)) for name, value in values.items()}
    path = Interval(float(1.1 * values["displacement"]), float("nan"), float("nan"))
    return made | {"path": path}


def made_up_arm(
    factors,
    *,
    pool="digits",
    seed=0,
    records=300,
    checkpoints=12,
    last=60,
    pace=1.0,
    models=64,
    classes=10,
):
    """One arm; equal pools and numbers of records have equal labels."""
    rng = np.random.default_rng(seed)
    fpr, tpr, fpr_error, tpr_error, exposure = rates(rng, checkpoints, records, pace, models)
    epochs = np.unique(np.linspace(0, last, checkpoints).round().astype(int))
    found = curves(rng, fpr, tpr, epochs)
    warning = {"epoch": int(epochs[len(epochs) // 3]), "share": 0.1, "chance": 0.1}
    return Arm(
        factors=factors,
        pool=pool,
        epochs=epochs,
        num_models=models,
        who="LiRA, called a member where the log-likelihood ratio is at least 0",
        fpr=fpr,
        tpr=tpr,
        fpr_error=fpr_error,
        tpr_error=tpr_error,
        labels=np.random.default_rng(len(pool)).integers(0, classes, records),
        difficulty={
            "epoch_learned": last * np.clip(exposure + 0.1 * rng.standard_normal(records), 0, 1),
            "out_error": np.clip(exposure + 0.2 * rng.standard_normal(records), 0, 1),
            "prediction_depth": 1 + 3 * np.clip(exposure + 0.3 * rng.standard_normal(records), 0, 1),
        },
        curves=found,
        numbers=numbers(found, fpr, tpr),
        transitions=transitions(tpr - fpr),
        also=({"attack": "lira", "fpr": 0.1, "vulnerability": 0.12}, {"attack": "loss", "fpr": None}),
        foretold=warning | {"precision": interval(0.43), "recall": interval(0.37)},
    )


def images(rng, rows, side=8, channels=()):
    """Pictures of a bright bar at the record's own height, S of them."""
    values = rng.integers(0, 60, (len(rows), side, side, *channels)).astype(np.uint8)
    for place, row in enumerate(rows):
        values[place, row % side] = 250
    return Shown(np.asarray(rows), "image", values)


def sequences(rng, rows, length=20, features=3):
    """Sequences of several lengths, padded with NaN."""
    values = rng.standard_normal((len(rows), length, features)).astype(np.float32)
    for place in range(len(rows)):
        values[place, length - place % 5 :] = np.nan
    return Shown(np.asarray(rows), "sequence", values)


def made_up_study(levels=3, **sizes):
    """A study of some arms: two or more of one pool of pictures; of three, the third of sequences.

    sizes: as for `made_up_arm`.
    """
    names = [("mlp", "sgd"), ("lstm", "sgd"), ("mlp", "adam")]
    names += [(f"net{place}", "sgd") for place in range(3, levels)]
    arms = []
    for place, (family, optimizer) in enumerate(names[:levels]):
        factors = {"family": family, "optimizer": optimizer}
        own = {"seed": place, "pace": 1 - 0.5 * place / levels} | sizes
        if levels == 3 and place == 2:
            own |= {"pool": "walks", "records": 200, "checkpoints": 8, "last": 70}
        arms.append(made_up_arm(factors, **own))
    rng, shown = np.random.default_rng(9), {}
    for arm in arms:
        if arm.pool not in shown:
            make = images if arm.pool == "digits" else sequences
            rows = np.arange(0, len(arm.labels), max(1, len(arm.labels) // 300))
            shown[arm.pool] = make(rng, rows)
    claims = (
        Claim(
            1, "Vulnerability grows over training.", "supported", ("mlp: 0.02 at first, 0.21 at the end.",)
        ),
        Claim(2, "The optimizer changes it.", "not supported", ("A difference of 0.01 (-0.02 to 0.04).",)),
        Claim(3, "Hard records are the exposed ones.", "undecided", ()),
    )
    return DynamicsRows(
        title="Membership on the plane",
        arms=tuple(arms),
        shown=shown,
        claims=claims[: 3 if levels > 1 else 0],
        config={"seed": 0, "training": {"epochs": 60, "batch": 32}},
        facts={"Records": 300, "Models an arm": 64, "Seed": 0},
        cuts=CUTS,
        confidence=0.95,
    )


@pytest.fixture(scope="session")
def make_arm():
    """The function `made_up_arm`."""
    return made_up_arm


@pytest.fixture(scope="session")
def make_study():
    """The function `made_up_study`: levels, and sizes of its arms."""
    return made_up_study


@pytest.fixture(scope="session")
def evil():
    """A text that would break out of careless HTML or JSON."""
    return EVIL


@pytest.fixture(scope="session")
def study():
    """Three arms: two of one pool of pictures, one of another pool with other checkpoints."""
    return made_up_study()


@pytest.fixture(scope="session")
def one_arm():
    """A study of one arm, without claims."""
    return made_up_study(1)


@pytest.fixture(scope="session")
def many_arms():
    """A study of 24 arms of few records."""
    return made_up_study(24, records=60, checkpoints=6)
