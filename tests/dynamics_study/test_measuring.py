"""Every number of an arm against another computation of it, on really trained models."""

import dataclasses
import itertools
import json
import tracemalloc
from fractions import Fraction

import jax
import numpy as np
import pytest
from scipy import stats

from benchmarks.big_pool import FAMILY, Size, make
from mia_jax import blocks, data, dynamics, models, study
from mia_jax.attacks import lira
from mia_jax.config import (
    Config,
    DataConfig,
    DynamicsConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
)
from mia_jax.dynamics import calls
from mia_jax.dynamics_study import calling, halves, measuring
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, Interval
from mia_jax.runs import store
from mia_jax.runs.identity import RunError
from mia_jax.runs.segments import Segments
from mia_jax.statistics import score_table

CUTS = (0.2, 0.5)
ALONE = ("path", "peak_entry", "train_accuracy", "test_accuracy")
"""Numbers without an interval."""


def config_of(family, **changes):
    """24 small models on 48 records, four checkpoints."""
    families = {
        "mlp": FamilyConfig(kind="mlp", hidden=12, layers=2),
        "lstm": FamilyConfig(kind="lstm", hidden=6, steps=3),
    }
    plain = Config(
        name="tiny",
        data=DataConfig(
            source="synthetic:gaussian,classes=3,features=6,distance=1.5",
            pool_size=48,
            population_size=30,
            test_size=30,
        ),
        membership=MembershipConfig(num_models=24, train_size=24),
        families={family: families[family]},
        training=TrainingConfig(epochs=30, batch_size=8, learning_rate=0.01),
        recording=RecordingConfig(epochs=(0, 2, 8, 30), logits="none"),
        dynamics=DynamicsConfig(
            cuts=CUTS, splits=3, permutations=4, depth_neighbours=5, early=0.3, foretold=0.2
        ),
    )
    return dataclasses.replace(plain, **changes)


def measured(run, draws=60):
    """The arm of a run's only family, with fewer draws of records than in earnest."""
    (family,) = run.config.families
    dataset = data.load(run.config.data, run.config.canaries)
    model = models.build_families(run.config.families, dataset)[1][family]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "DRAWS", draws)
        followed = calling.follow(run, family)
        return measuring.arm_of(followed, {"family": family}, run.config.dynamics, "the pool", dataset, model)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Function that trains a family, once, and measures it: the run and its arm."""
    kept = {}

    def run_and_arm(family):
        if family not in kept:
            run = study.train(config_of(family), tmp_path_factory.mktemp(family))
            kept[family] = run, measured(run)
        return kept[family]

    return run_and_arm


@pytest.fixture(params=["mlp", pytest.param("lstm", marks=pytest.mark.slow)])
def both(request, finished):
    """A run and its arm, of either family."""
    return finished(request.param)


def member_of(run):
    return np.asarray(run.membership().member)


def lira_calls(run, member=None, exclude=None):
    """LiRA at every checkpoint straight from the signals: calls and where they are known, [K, T, N] each."""
    (family,) = run.config.families
    member = member_of(run) if member is None else member
    scores = []
    for checkpoint in range(len(run.epochs)):
        logit = run.segments(family).signal("pool/scaled_logit", checkpoint)
        scores.append(lira(logit, member, variance="global", exclude=exclude, missing="nan"))
    stacked = np.stack(scores, axis=1)
    return stacked >= 0, ~np.isnan(stacked)


def correct_of(run, part="pool"):
    """Whether models are right: bool [K, T, N]."""
    (family,) = run.config.families
    told = [run.segments(family).signal(f"{part}/correct", t) for t in range(len(run.epochs))]
    return np.stack(told, axis=1) > 0.5


def generator(run):
    """The generator of an arm, at its beginning."""
    (family,) = run.config.families
    return np.random.default_rng([run.config.seed, *family.encode()])


def splits_of(run):
    return dynamics.model_halves(24, 3, generator(run))


def apart(half):
    return half[:, None] != half[None, :]


def test_an_arm_is_the_plane_of_its_run(both):
    run, arm = both
    member = member_of(run)
    calls, known = lira_calls(run)
    for t in range(4):
        for n in range(48):
            inside, outside = member[:, n] & known[:, t, n], ~member[:, n] & known[:, t, n]
            assert arm.tpr[t, n] == pytest.approx(calls[inside, t, n].mean())
            assert arm.fpr[t, n] == pytest.approx(calls[outside, t, n].mean())
            trials = inside.sum()
            middle = (calls[inside, t, n].sum() + 2) / (trials + 4)
            assert arm.tpr_error[t, n] == pytest.approx(np.sqrt(middle * (1 - middle) / trials))
    assert (arm.fpr_error > 0).all()
    np.testing.assert_array_equal(arm.epochs, [0, 2, 8, 30])
    assert (arm.num_models, arm.pool, arm.factors["family"]) == (24, "the pool", arm.name)
    np.testing.assert_array_equal(arm.labels, run.labels("pool"))
    np.testing.assert_array_equal(arm.ends.first, calls[:, 0])
    np.testing.assert_array_equal(arm.ends.last, calls[:, -1])
    np.testing.assert_array_equal(
        np.asarray(arm.ends.known_first) & np.asarray(arm.ends.known_last), known[:, 0]
    )
    np.testing.assert_array_equal(arm.ends.member, member)


def test_names_and_shapes_are_those_that_are_promised(both):
    run, arm = both
    # An LSTM of one layer has no depth.
    without = set() if "mlp" in run.config.families else {"prediction_depth"}
    assert set(arm.curves) == set(CURVES)
    assert {values.shape for values in arm.curves.values()} == {(4,)}
    more = {"entropy_change_10", "entropy_change_50"}
    assert set(arm.numbers) - more == set(NUMBERS) - {f"rank_{name}" for name in without}
    assert set(arm.numbers) >= more
    assert arm.transitions.shape == (3, 3, 3)
    assert set(arm.difficulty) == {"epoch_learned", "out_error", "prediction_depth"} - without
    assert {values.shape for values in arm.difficulty.values()} == {(48,)}
    assert all(type(end) is float for number in arm.numbers.values() for end in number)


def test_every_interval_holds_its_number(both):
    """That of the speed by chance is where the middle of the permutations lies, round their mean."""
    _, arm = both
    for name, (value, low, high) in arm.numbers.items():
        if name in ALONE:
            assert np.isnan([low, high]).all()
        else:
            assert low <= value <= high, name
            assert low < high, name
        assert np.isfinite(value), name


def test_curves_are_counts_over_records(both):
    run, arm = both
    v, curves = arm.tpr - arm.fpr, arm.curves
    np.testing.assert_allclose(curves["center_fpr"], arm.fpr.mean(axis=1))
    np.testing.assert_allclose(curves["center_tpr"], arm.tpr.mean(axis=1))
    np.testing.assert_allclose(curves["vulnerability"], v.mean(axis=1))
    np.testing.assert_allclose(curves["low"], [np.mean([x < 0.2 - 1e-9 for x in row]) for row in v])
    np.testing.assert_allclose(curves["high"], [np.mean([x >= 0.5 - 1e-9 for x in row]) for row in v])
    entering = [
        sum(b >= 0.5 - 1e-9 > a for a, b in zip(*rows, strict=True)) / sum(a < 0.5 - 1e-9 for a in rows[0])
        for rows in itertools.pairwise(v)
    ]
    np.testing.assert_allclose(curves["entry"], [np.nan, *entering])
    right, member = correct_of(run), member_of(run)
    np.testing.assert_allclose(
        curves["train_accuracy"], [right[:, t][member].mean() for t in range(4)], rtol=1e-12
    )
    np.testing.assert_allclose(curves["test_accuracy"], correct_of(run, "test").mean(axis=(0, 2)))
    for name in ("train_accuracy", "test_accuracy"):
        assert arm.numbers[name].value == curves[name][-1]


def test_numbers_of_the_center_are_those_of_its_way(both):
    _, arm = both
    center = np.stack([arm.fpr.mean(axis=1), arm.tpr.mean(axis=1)], axis=1)
    numbers = {name: number.value for name, number in arm.numbers.items()}
    assert numbers["vulnerability"] == pytest.approx(np.mean(arm.tpr[-1] - arm.fpr[-1]))
    assert numbers["displacement"] == pytest.approx(np.linalg.norm(center[-1] - center[0]))
    legs = [np.linalg.norm(b - a) for a, b in itertools.pairwise(center)]
    assert numbers["path"] == pytest.approx(sum(legs))
    assert numbers["high"] == pytest.approx(arm.curves["high"][-1])
    assert numbers["peak_entry"] == pytest.approx(np.nanmax(arm.curves["entry"]))


def cells(rate, bins):
    """The cell of each rate along a side, by fractions of whole numbers of models."""
    exact = [Fraction(float(r)).limit_denominator(24) for r in rate]
    return [min(int(r * bins), bins - 1) for r in exact]


def counts_of(fpr, tpr, bins):
    found = {}
    for cell in zip(cells(fpr, bins), cells(tpr, bins), strict=True):
        found[cell] = found.get(cell, 0) + 1
    return np.array(list(found.values()))


def test_entropy_and_clustering_are_of_a_count_by_fractions(both):
    _, arm = both
    for bins, name in ((20, "entropy_change"), (10, "entropy_change_10"), (50, "entropy_change_50")):
        entropies = [stats.entropy(counts_of(arm.fpr[t], arm.tpr[t], bins), base=2) for t in range(4)]
        assert arm.numbers[name].value == pytest.approx(entropies[-1] - entropies[0])
        if bins == 20:
            np.testing.assert_allclose(arm.curves["entropy"], entropies)
    for t in range(4):
        counts = counts_of(arm.fpr[t], arm.tpr[t], 20)
        assert arm.curves["clustering"][t] == pytest.approx(400 * np.sum(counts * (counts - 1)) / (48 * 47))
    assert arm.numbers["clustering"].value == pytest.approx(arm.curves["clustering"][-1])


def test_speeds_are_ways_over_epochs(both):
    _, arm = both
    lengths, speed, signed = [2, 6, 22], [], []
    for t, epochs in enumerate(lengths):
        steps = [
            np.linalg.norm([arm.fpr[t + 1, n] - arm.fpr[t, n], arm.tpr[t + 1, n] - arm.tpr[t, n]])
            for n in range(48)
        ]
        speed.append(np.mean(steps) / epochs)
        signed.append((arm.curves["vulnerability"][t + 1] - arm.curves["vulnerability"][t]) / epochs)
    np.testing.assert_allclose(arm.curves["speed"], [np.nan, *speed])
    np.testing.assert_allclose(arm.curves["signed_speed"], [np.nan, *signed])
    assert arm.numbers["speed"].value == pytest.approx(np.average(speed, weights=lengths))
    assert arm.numbers["peak_speed"].value == pytest.approx(max(speed))
    assert arm.numbers["signed_speed"].value == pytest.approx(np.average(signed, weights=lengths))


def test_the_speed_by_chance_is_that_of_lira_fitted_to_permuted_memberships(both):
    run, arm = both
    rng = generator(run)
    dynamics.model_halves(24, 3, rng)  # drawn before
    floors = []
    for order in dynamics.model_orders(24, 4, rng):
        member = member_of(run)[order]
        fpr, tpr = dynamics.plane(*(part for part in swapped(member, *lira_calls(run, member))))
        floors.append(np.hypot(np.diff(fpr, axis=0), np.diff(tpr, axis=0)).mean(axis=1) / [2, 6, 22])
    np.testing.assert_allclose(arm.curves["speed_floor"][1:], np.mean(floors, axis=0))
    means = np.average(floors, axis=1, weights=[2, 6, 22])
    np.testing.assert_allclose(
        arm.numbers["speed_floor"], [means.mean(), *np.quantile(means, [0.025, 0.975])], rtol=1e-9
    )


def swapped(member, calls, known):
    """The arguments of `dynamics.plane`."""
    return calls, member, known


def test_transitions_are_counted_record_by_record(both):
    _, arm = both
    v = arm.tpr - arm.fpr
    state = [[sum(x >= cut - 1e-9 for cut in CUTS) for x in row] for row in v]
    for t in range(3):
        for row in range(3):
            after = [b for a, b in zip(state[t], state[t + 1], strict=True) if a == row]
            expected = [after.count(s) / len(after) if after else np.nan for s in range(3)]
            np.testing.assert_allclose(arm.transitions[t, row], expected)


def test_early_determination_is_that_of_the_same_splits(both):
    run, arm = both
    member, parts = member_of(run), []
    for half in splits_of(run):
        calls, known = lira_calls(run, exclude=apart(half))
        parts.append(dynamics.determination_between_halves(calls, member, half[None], 0.5, known))
    found = dynamics.combined_halves(parts)
    for name in ("recall", "precision", "jaccard"):
        np.testing.assert_allclose(arm.curves[f"early_{name}"], getattr(found.early, name))
    np.testing.assert_allclose(arm.curves["early_ratio"], found.ratio.recall)
    early = 2  # epoch 8 of 30 is the last within 0.3
    assert arm.foretold["epoch"] == 8
    assert arm.numbers["early_recall"].value == pytest.approx(found.early.recall[early])
    assert arm.numbers["early_precision"].value == pytest.approx(found.early.precision[early])
    assert arm.numbers["early_ceiling"].value == pytest.approx(found.ceiling.recall)
    assert arm.numbers["early_ratio"].value == pytest.approx(found.ratio.recall[early])


def test_the_early_warning_is_that_of_the_same_splits(both):
    run, arm = both
    member, parts = member_of(run), []
    for half in splits_of(run):
        calls, known = lira_calls(run, exclude=apart(half))
        parts.append(
            dynamics.foretelling(
                calls[:, 2], calls[:, 3], member, half[None], 0.2, known[:, 2], known[:, 3], cut=0.5
            )
        )
    found = dynamics.combined_foretelling(parts)
    assert arm.foretold["share"] == 0.2
    for name in ("overlap", "precision", "recall", "listed", "others"):
        for ending in ("early", "ceiling", "chance"):
            key = name if ending == "early" else f"{name}_{ending}"
            assert arm.foretold[key] == pytest.approx(
                float(getattr(getattr(found, ending), name)), nan_ok=True
            )
    # Ties are drawn by lot in the one, and in parts in the other: halves of 12 models tie often.
    assert arm.numbers["top_overlap"].value == pytest.approx(arm.foretold["overlap"], abs=0.15)
    assert arm.numbers["top_ceiling"].value == pytest.approx(arm.foretold["overlap_ceiling"], abs=0.15)


def test_difficulty_is_by_models_without_the_record(both):
    run, arm = both
    member, right, epochs = member_of(run), correct_of(run), [0, 2, 8, 30, 52]
    for n in range(48):
        learned = []
        for k in np.flatnonzero(~member[:, n]):
            wrong = [t for t in range(4) if not right[k, t, n]]
            learned.append(epochs[wrong[-1] + 1 if wrong else 0])
        assert arm.difficulty["epoch_learned"][n] == pytest.approx(np.mean(learned))
        assert arm.difficulty["out_error"][n] == pytest.approx(1 - right[~member[:, n], -1, n].mean())


def voted(embedded, labels, support, row, neighbours):
    """The label that the nearest records of a model's own, but the record itself, vote for."""
    others = [n for n in np.flatnonzero(support) if n != row]
    distances = [np.sum((embedded[n] - embedded[row]) ** 2) for n in others]
    near = [labels[others[place]] for place in np.argsort(distances, kind="stable")[:neighbours]]
    most = max(near.count(label) for label in near)
    return next(label for label in near if near.count(label) == most)


def test_prediction_depth_is_by_the_layers_of_the_final_models(finished):
    run, arm = finished("mlp")
    dataset, member = data.load(run.config.data), member_of(run)
    model = models.build_families(run.config.families, dataset)[1]["mlp"]
    like = jax.eval_shape(model.init, jax.random.key(0), models.one_record(dataset))
    params, labels = run.segments("mlp").parameters(3, like), np.asarray(dataset.pool.y).tolist()
    rows, depths = range(0, 48, 8), np.full((24, 48), np.nan)
    for k in range(24):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], params)
        layers = [
            np.asarray(layer, np.float64) for layer in jax.vmap(model.layers, (None, 0))(own, dataset.pool.x)
        ]
        said = np.asarray(jax.vmap(model.apply, (None, 0))(own, dataset.pool.x)).argmax(axis=1)
        for n in rows:
            right = [voted(layer, labels, member[k], n, 5) == said[n] for layer in layers]
            depths[k, n] = 1 + max((place + 1 for place, agrees in enumerate(right) if not agrees), default=0)
    for n in rows:
        assert arm.difficulty["prediction_depth"][n] == pytest.approx(depths[~member[:, n], n].mean())
    assert np.ptp(arm.difficulty["prediction_depth"]) > 0


def test_ranks_are_spearmans_between_disjoint_halves(both):
    run, arm = both
    member, right = member_of(run), correct_of(run)
    found = {"out_error": [], "epoch_learned": []}
    for half in splits_of(run):
        calls, known = lira_calls(run, exclude=apart(half))
        for part in (half, ~half):
            fpr, tpr = dynamics.plane(calls[~part][:, -1:], member[~part], known[~part][:, -1:])
            v = (tpr - fpr)[0]
            learned = dynamics.epoch_learned(right[part], member[part], np.array([0, 2, 8, 30])).epoch
            out = [1 - right[part & ~member[:, n], -1, n].mean() for n in range(48)]
            for name, values in (("out_error", np.array(out)), ("epoch_learned", learned)):
                some = np.isfinite(v) & np.isfinite(values)
                found[name].append(stats.spearmanr(values[some], v[some]).statistic)
    for name, each in found.items():
        assert arm.numbers[f"rank_{name}"].value == pytest.approx(np.tanh(np.mean(np.arctanh(each))))


def test_other_decisions_stand_beside_it(both):
    run, arm = both
    assert [(row["attack"], row["fpr"]) for row in arm.also] == [
        (name, fpr) for name in ("lira_online_global", "loss") for fpr in (0.01, 0.1)
    ]
    (family,), member = run.config.families, member_of(run)
    for row in arm.also:
        if row["attack"] == "loss":
            rates = []
            for t in (0, 3):
                scores = run.segments(family).signal("pool/log_prob", t).astype(np.float64)
                called, known = dynamics.calls_at_fpr(scores, member, row["fpr"])
                rates.append(dynamics.plane(called[:, None], member, known[:, None]))
            (fpr_0, tpr_0), (fpr_1, tpr_1) = rates
            assert row["vulnerability"].value == pytest.approx(np.mean(tpr_1 - fpr_1))
            assert row["high"] == pytest.approx(np.mean(tpr_1 - fpr_1 >= 0.5 - 1e-9))
            moved = [np.mean(fpr_1) - np.mean(fpr_0), np.mean(tpr_1) - np.mean(tpr_0)]
            assert row["displacement"].value == pytest.approx(np.linalg.norm(moved))


def test_blocks_of_records_give_what_all_at_once_do(both, monkeypatch):
    """With a threshold and without, halves apart, permuted memberships: eight records a block."""
    run, arm = both
    monkeypatch.setattr(blocks, "ENTRIES", 24 * 8)
    monkeypatch.setattr(score_table, "AT_ONCE", 48 * 5)
    monkeypatch.setattr(calls, "MOST_KEPT", 20)
    cut = measured(run)
    assert_close(cut._asdict(), arm._asdict())


def assert_close(found, wanted):
    """Equal up to rounding, NaN included."""
    if isinstance(wanted, dynamics.Bits):
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            assert_close(found[name], value)
    elif isinstance(wanted, list | tuple) and not isinstance(wanted, Interval):
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other)
    elif isinstance(wanted, np.ndarray | Interval | float):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    else:
        assert found == wanted


def peak_of(path, size, judge_fpr):
    """The largest memory beside what was there before, while a made-up run of so many records is measured."""
    run = make(path, Size(32, size, 3, 50), ["loss"])
    settings = dataclasses.replace(
        run.config.dynamics,
        attack="lira_online_global",
        also_attacks=("loss",),
        also_fpr=(judge_fpr,),
        splits=1,
        permutations=1,
    )
    tracemalloc.start()
    followed = calling.follow(run, FAMILY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "DRAWS", 3)
        measuring.arm_of(followed, {"family": FAMILY}, settings, "the pool", None, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_four_times_the_records_take_a_few_numbers_of_each(tmp_path, monkeypatch):
    """What grows is two memberships, a byte of each record and model, packed tables, and numbers of each record at
    each checkpoint: less than what two whole tables of scores would take.
    """
    monkeypatch.setattr(blocks, "ENTRIES", 32 * 512)
    monkeypatch.setattr(score_table, "AT_ONCE", 32 * 512)
    monkeypatch.setattr(calls, "MOST_KEPT", 512)
    monkeypatch.setattr(store, "ENTRIES_OF_A_PIECE", 32 * 256)
    sizes = (2_000, 8_000)
    peak_of(tmp_path / "first", 2_000, 0.1)  # what is made once for all
    few, many = (peak_of(tmp_path / str(size), size, 0.1) for size in sizes)
    assert many - few < 32 * 10 * (sizes[1] - sizes[0])


def top_shares(early, last, share):
    """Overlap of an early list and of a last one with the other half's last, by sets; no ties."""
    splits = len(early) // 2
    found = []
    for way in range(2 * splits):
        other = (way + splits) % (2 * splits)
        known = np.flatnonzero(np.isfinite(early[way] + last[way] + early[other] + last[other]))
        size = max(1, int(share * known.size + 0.5))
        top = [
            set(known[np.argsort(-values[known])[:size]]) for values in (early[way], last[way], last[other])
        ]
        found.append([len(top[0] & top[2]) / size, len(top[1] & top[2]) / size, size / known.size])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_lists_are_of_the_records_that_are_known(missing):
    """With records unknown, a list by lot is a larger share of those that can be on it."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    by_half = np.clip(0.3 * truth + 0.1 * rng.normal(size=(4, 2, 200)), -1, 1)
    by_half[:, :, : int(200 * missing)] = np.nan
    by_half[0, 0, -5:] = np.nan  # unknown in one half at one time

    def over_records(statistic):
        value = statistic(np.arange(200))
        return dynamics.Resampled(value, value, value)

    settings = DynamicsConfig(foretold=0.1)
    found = halves.early_numbers(by_half, settings, rng, over_records)
    early, ceiling, chance = top_shares(by_half[:, 0], by_half[:, 1], 0.1)
    assert found["top_overlap"].value == pytest.approx(early)
    assert found["top_ceiling"].value == pytest.approx(ceiling)
    assert found["top_ratio"].value == pytest.approx((early - chance) / (ceiling - chance))


def test_nothing_known_is_no_number_and_no_warning():
    def over_records(statistic):
        return dynamics.record_bootstrap(statistic, 20, np.random.default_rng(0), 10)

    by_half = np.full((4, 2, 20), np.nan)
    found = halves.early_numbers(by_half, DynamicsConfig(), np.random.default_rng(0), over_records)
    assert np.isnan(np.array(list(found.values()))).all()


def test_confidence_is_that_of_the_config(finished):
    run, arm = finished("mlp")
    narrow = measured(run.with_section("report", {"confidence": 0.5}))
    for name, number in narrow.numbers.items():
        assert number.value == arm.numbers[name].value
        if name not in ALONE:
            wide = arm.numbers[name]
            assert number.high - number.low < wide.high - wide.low, name


def test_the_early_checkpoint_is_the_last_within_its_share():
    assert halves.early_checkpoint((0, 2, 8, 30), 0.3) == 2
    assert halves.early_checkpoint((3, 6, 9, 10), 0.3) == 0
    assert halves.early_checkpoint((4, 6, 9, 10), 0.3) == 0  # none is: the first
    assert halves.early_checkpoint((30,), 0.3) == 0


def test_one_checkpoint_alone_has_a_place_and_no_speed(tmp_path):
    config = config_of("mlp", recording=RecordingConfig(num_checkpoints=1, logits="none"))
    arm = measured(study.train(config, tmp_path))
    assert arm.fpr.shape == (1, 48)
    assert arm.transitions.shape == (0, 3, 3)
    assert {values.shape for values in arm.curves.values()} == {(1,)}
    assert set(arm.curves) == set(CURVES) - {"speed", "speed_floor", "signed_speed", "entry"}
    assert not {"speed", "speed_floor", "signed_speed", "peak_entry", "rank_epoch_learned"} & set(arm.numbers)
    assert arm.numbers["displacement"].value == arm.numbers["path"].value == 0
    assert arm.numbers["vulnerability"].value == pytest.approx(np.mean(arm.tpr - arm.fpr))
    assert not {"early_recall", "early_ratio", "top_ratio"} & set(arm.numbers)  # the end is not early
    assert arm.foretold["epoch"] == 30


@pytest.mark.slow
def test_records_that_no_model_may_hold_are_nowhere_and_all_else_is_known(finished, tmp_path):
    run, _ = finished("mlp")
    left_out = [0, 5, 11, 20, 33, 47]
    file = tmp_path / "without.json"
    file.write_text(json.dumps({"rows": left_out, "fingerprint": run.fingerprint}))
    membership = MembershipConfig(num_models=24, train_size=21, without=str(file))
    arm = measured(study.train(config_of("mlp", membership=membership), tmp_path / "run"))
    kept = np.setdiff1d(np.arange(48), left_out)
    assert not np.asarray(arm.ends.member)[:, left_out].any()
    for values in (arm.fpr, arm.tpr, arm.fpr_error, arm.tpr_error):
        assert np.isnan(values[:, left_out]).all()
        assert np.isfinite(values[:, kept]).all()
    for name, values in arm.difficulty.items():
        assert np.isfinite(values).all(), name  # all models are without them
    for name, curve in arm.curves.items():
        assert np.isfinite(curve[1:]).all(), name
    for name, number in arm.numbers.items():
        assert np.isfinite(number.value), name
        assert np.isfinite(number[1:]).all() or name in ALONE, name
    assert arm.numbers["vulnerability"].value == pytest.approx(np.mean((arm.tpr - arm.fpr)[-1, kept]))
    assert arm.numbers["high"].value == pytest.approx(np.mean((arm.tpr - arm.fpr)[-1, kept] >= 0.5 - 1e-9))
    assert arm.curves["low"][-1] == pytest.approx(np.mean((arm.tpr - arm.fpr)[-1, kept] < 0.2 - 1e-9))


def test_models_that_all_diverged_are_refused_in_a_sentence(finished, monkeypatch):
    run, _ = finished("mlp")
    honest = Segments.signal

    def signal(self, name, checkpoint, **some):
        values = honest(self, name, checkpoint, **some)
        if name == "pool/log_prob" and checkpoint == 3:
            values[2:] = np.nan
        return values

    monkeypatch.setattr(Segments, "signal", signal)
    with pytest.raises(
        RunError, match="family mlp 2 of 24 models are fit at every checkpoint; train more models"
    ):
        measured(run)


def test_the_same_run_gives_the_same_arm(finished):
    run, arm = finished("mlp")
    again = measured(run)
    assert again.numbers == arm.numbers or all(
        np.array_equal(again.numbers[name], number, equal_nan=True) for name, number in arm.numbers.items()
    )
    assert again.foretold == arm.foretold
