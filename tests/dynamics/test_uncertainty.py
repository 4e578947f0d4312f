"""Intervals of the center: values as elsewhere, errors by loops over clusters, coverage, limits."""

import numpy as np
import pytest
from scipy import stats

from mia_jax import dynamics
from mia_jax.attacks import lira

TWINS = np.array([1, 0, 3, 2, -1, -1, -1, -1])


def drawn(seed, models=8, records=12):
    rng = np.random.default_rng(seed)
    first, last, member = rng.random((3, models, records)) < 0.5
    last |= member & (rng.random((models, records)) < 0.5)
    known = rng.random((2, models, records)) < 0.8
    member[:, 4] = True  # a record without a non-member
    return first, last, member, known


def influence_by_hand(called, member, known):
    """What every call adds: its distance from the mean of its side, by its weight in that mean."""
    models, records = called.shape
    rows = {
        n: {
            side: [k for k in range(models) if member[k, n] == side and known[k, n]] for side in (True, False)
        }
        for n in range(records)
    }
    both = [n for n in rows if rows[n][True] and rows[n][False]]
    mean = {side: np.mean([np.mean(called[rows[n][side], n]) for n in both]) for side in (True, False)}
    found, counted = np.zeros(called.shape), np.zeros(called.shape, bool)
    for n in both:
        for side in (True, False):
            for k in rows[n][side]:
                found[k, n] = (float(called[k, n]) - mean[side]) / (len(rows[n][side]) * len(both))
                counted[k, n] = True
    return np.array([mean[False], mean[True]]), found, counted


def error_by_hand(influence, counted, twin):
    """Cameron, Gelbach & Miller: by model plus by record less by call, and at least the smaller."""
    models, records = influence.shape
    group = [min(k, twin[k]) if twin is not None and twin[k] >= 0 else k for k in range(models)]

    def of(cells):
        count = len(cells)
        return count / (count - 1) * sum(sum(influence[c] for c in some) ** 2 for some in cells)

    cells = [(k, n) for k, n in np.ndindex(models, records) if counted[k, n]]
    by_model = of([[c for c in cells if group[c[0]] == g] for g in sorted({group[c[0]] for c in cells})])
    by_record = of([[c for c in cells if c[1] == n] for n in sorted({c[1] for c in cells})])
    together = {}
    for k, n in cells:
        together[group[k], n] = together.get((group[k], n), 0.0) + influence[k, n]
    single = sum(value**2 for value in together.values())
    return np.sqrt(max(by_model + by_record - single, min(by_model, by_record)))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("twin", [None, TWINS])
def test_values_as_elsewhere_and_errors_by_a_loop(missing, twin):
    first, last, member, known = drawn(0)
    where = known if missing else (None, None)
    found = dynamics.center_interval(first, last, member, *where, twin=twin)
    everywhere = known if missing else np.ones_like(known)
    fpr, tpr = dynamics.plane(np.stack([first, last], 1), member, np.stack(everywhere, 1))
    v = dynamics.vulnerability(fpr, tpr)
    assert found.vulnerability.value == pytest.approx(np.nanmean(v[1]))
    assert found.change.value == pytest.approx(np.nanmean(v[1]) - np.nanmean(v[0]))
    center = dynamics.center_of_mass(fpr, tpr)
    assert found.displacement.value == pytest.approx(dynamics.center_displacement(center))
    (begin, u0, in0), (end, u1, in1) = (
        influence_by_hand(called, member, present)
        for called, present in zip((first, last), everywhere, strict=True)
    )
    np.testing.assert_allclose([begin, end], center)
    sign = np.where(member, 1.0, -1.0)
    along = (end - begin) / np.hypot(*(end - begin))
    for estimate, influence, counted in (
        (found.vulnerability, sign * u1, in1),
        (found.change, sign * (u1 - u0), in0 | in1),
        (found.displacement, np.where(member, along[1], along[0]) * (u1 - u0), in0 | in1),
    ):
        error = error_by_hand(influence, counted, twin)
        assert estimate.error == pytest.approx(error)
        groups = 8 if twin is None else 6
        assert estimate.degrees == groups - 1
        assert estimate.high == pytest.approx(estimate.value + stats.t.ppf(0.975, groups - 1) * error)
    across = np.where(member, along[0], -along[1]) * (u1 - u0)
    delta = 2 * found.displacement.value - found.displacement.high
    low = np.sqrt(max(max(delta, 0) ** 2 - error_by_hand(across, in0 | in1, twin) ** 2, 0))
    assert found.displacement.low == pytest.approx(low)


def test_a_model_without_calls_at_the_end_has_no_say_in_the_end():
    first, last, member, _ = drawn(1, records=30)
    at_last = np.repeat(np.arange(8)[:, None] != 5, 30, axis=1)
    rest = np.arange(8) != 5
    found = dynamics.center_interval(first, last, member, None, at_last)
    alone = dynamics.center_interval(first[rest], last[rest], member[rest])
    assert found.vulnerability == pytest.approx(alone.vulnerability)
    assert (found.vulnerability.degrees, found.change.degrees) == (6, 7)


def test_an_attack_that_never_errs_is_not_certain():
    member = np.random.default_rng(1).random((12, 30)) < 0.5
    found = dynamics.center_interval(~member & member, member, member)
    assert found.vulnerability[0] == found.vulnerability.high == 1.0
    assert 0.5 < found.vulnerability.low < 1.0
    assert found.vulnerability.error > 0
    assert (found.change.value, found.displacement.value) == (1.0, 1.0)
    assert found.displacement.low < 1.0 < found.displacement.high <= np.sqrt(2)


def test_what_does_not_change_is_displaced_by_0_surely():
    first, _, member, _ = drawn(2)
    found = dynamics.center_interval(first, first, member)
    assert found.displacement[:4] == (0.0, 0.0, 0.0, 0.0)
    assert found.change[:4] == (0.0, 0.0, 0.0, 0.0)


def lira_calls(rng, models, records, gain):
    """Calls at two checkpoints whose models share the hardness of records and their own skill."""
    member = np.argsort(rng.random((models, records)), axis=1) < records // 2
    hardness, noise = (
        rng.normal(size=records) + 0.3 * rng.normal(size=(models, 1)),
        rng.normal(size=member.shape),
    )
    gains = gain * (1.0 + 0.5 * rng.normal(size=records))
    logits = [
        hardness + 0.7 * noise + 0.7 * rng.normal(size=member.shape) + at * gains * member
        for at in (0.3, 1.0)
    ]
    return [dynamics.calls_at_zero(lira(logit, member))[0] for logit in logits], member


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 1.0, 2.5])
def test_lira_intervals_cover_what_other_models_and_records_give(gain):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(600):
        (first, last), member = lira_calls(rng, 32, 200, gain)
        found.append([estimate[:3] for estimate in dynamics.center_interval(first, last, member)])
    value, low, high = np.moveaxis(np.array(found), -1, 0)
    truth = value.mean(axis=0) if gain else np.append(value.mean(axis=0)[:2], 0.0)  # nothing moves
    covered = np.mean((low <= truth) & (truth <= high), axis=0)
    assert (covered[:2] > 0.92).all()
    assert (covered[:2] < 0.98).all()
    assert covered[2] > 0.92


def test_noise_alone_is_seldom_displaced():
    rng = np.random.default_rng(4)
    above = 0
    for _ in range(300):
        first, last, member = rng.random((3, 16, 40)) < 0.5
        displacement = dynamics.center_interval(first, last, member).displacement
        assert displacement.value > 0
        above += displacement.low > 0
    assert above <= 20  # .05 of 300, and a little chance


def test_pairs_take_away_what_arms_share_and_change_sign_with_their_order():
    rng = np.random.default_rng(5)
    hardness = rng.normal(size=(24, 60))
    member = rng.random(hardness.shape) < 0.5
    arms = [
        dynamics.Ends(
            *(hardness + 0.2 * rng.normal(size=hardness.shape) + at * member > 0 for at in (0.0, gain))
        )
        for gain in (2.0, 1.0)
    ]
    found = dynamics.paired_difference(*arms, member)
    back = dynamics.paired_difference(*arms[::-1], member)
    alone = [dynamics.center_interval(arm.first, arm.last, member) for arm in arms]
    for one, other, a, b in zip(found, back, *alone, strict=True):
        assert one.value == pytest.approx(a.value - b.value)
        np.testing.assert_allclose([one.value, one.low, one.high], [-other.value, -other.high, -other.low])
        assert one.p == pytest.approx(other.p)
        assert one.p < 1e-4
    apart = dynamics.unpaired_difference(alone[0].vulnerability, alone[1].vulnerability)
    assert apart.value == pytest.approx(found.vulnerability.value)
    assert apart.high - apart.low > 1.2 * (found.vulnerability.high - found.vulnerability.low)


def test_paired_errors_by_a_loop_where_calls_are_missing():
    a0, a1, member, known_a = drawn(6)
    b0, b1, _, known_b = drawn(7)
    found = dynamics.paired_difference(
        dynamics.Ends(a0, a1, *known_a), dynamics.Ends(b0, b1, *known_b), member
    )
    both = known_a & known_b
    (at_a, u_a, counted), (at_b, u_b, _) = (influence_by_hand(c, member, both[1]) for c in (a1, b1))
    value = (at_a[1] - at_a[0]) - (at_b[1] - at_b[0])
    error = error_by_hand(np.where(member, 1.0, -1.0) * (u_a - u_b), counted, None)
    assert found.vulnerability.value == pytest.approx(value)
    assert found.vulnerability.high == pytest.approx(value + stats.t.ppf(0.975, 7) * error)
    assert found.vulnerability.p == pytest.approx(2 * stats.t.sf(abs(value) / error, 7))


def test_an_arm_differs_from_itself_by_nothing():
    first, last, member, _ = drawn(8)
    arm = dynamics.Ends(first, last)
    assert set(dynamics.paired_difference(arm, arm, member)) == {(0.0, 0.0, 0.0, 1.0)}


def test_same_records_errors_by_a_loop_over_a_table_of_both_arms():
    first, last, member, _ = drawn(5)
    other_first, other_last, other_member, _ = drawn(6, models=6)
    twin = np.array([1, 0, -1, -1, -1, -1])
    known = np.broadcast_to(np.arange(12) != 4, member.shape), np.broadcast_to(np.arange(12) != 4, (6, 12))
    a = dynamics.Ends(first, last, known[0], known[0])
    b = dynamics.Ends(other_first, other_last, known[1], known[1])
    found = dynamics.same_records_difference(a, member, b, other_member, twin_a=TWINS, twin_b=twin)
    (at, u, inside), (bt, w, also) = (
        influence_by_hand(last, member, known[0]),
        influence_by_hand(other_last, other_member, known[1]),
    )
    assert found.vulnerability.value == pytest.approx((at[1] - at[0]) - (bt[1] - bt[0]))
    table = np.concatenate([u * np.where(member, 1, -1), -w * np.where(other_member, 1, -1)])
    pairs = np.concatenate([TWINS, np.where(twin >= 0, twin + 8, -1)])
    error = error_by_hand(table, np.concatenate([inside, also]), pairs)
    reach = found.vulnerability.high - found.vulnerability.value
    groups = 6 + 5  # targets of both arms, pairs counted once; records are 11
    assert reach / stats.t.ppf(0.975, min(groups, 11) - 1) == pytest.approx(error)
    turned = dynamics.same_records_difference(b, other_member, a, member, twin_a=twin, twin_b=TWINS)
    assert turned.vulnerability.low == pytest.approx(-found.vulnerability.high)


def test_same_records_cover_a_difference_of_arms_with_models_of_their_own():
    rng = np.random.default_rng(7)
    worlds, models, records, covered, wide = 200, 24, 100, 0, 0

    def arm(hard, gain):
        member = rng.random((models, records)) < 0.5
        logits = (
            hard
            + rng.normal(size=(models, records))
            + gain * member * (1 + hard)
            + rng.normal(size=(models, 1)) / 4
        )
        early = rng.random((models, records)) < 0.5
        return dynamics.Ends(early, logits >= hard + 0.5), member

    for _ in range(worlds):
        hard = np.abs(rng.normal(size=records))
        a, b = arm(hard, 0.8), arm(hard, 0.6)
        one = dynamics.same_records_difference(*a, *b).vulnerability
        truth = np.mean(
            [stats.norm.sf(0.5 - g * (1 + hard), scale=np.sqrt(17 / 16)) for g in (0.8, 0.6)], axis=1
        )
        covered += one.low <= truth[0] - truth[1] <= one.high
        alone = dynamics.unpaired_difference(
            *(dynamics.center_interval(*ends[:2], member).vulnerability for ends, member in (a, b))
        )
        wide += alone.high - alone.low > one.high - one.low
    # Of 200 at 95 %: 184 and less has a probability of 2 in 1,000.
    assert covered >= 184
    assert wide >= 0.9 * worlds


def test_independent_arms_by_welch():
    rng = np.random.default_rng(9)
    x, y = rng.normal(0.3, 1.0, 9), rng.normal(0.0, 0.4, 23)
    a, b = (dynamics.Estimate(s.mean(), 0.0, 0.0, stats.sem(s), s.size - 1.0) for s in (x, y))
    expected = stats.ttest_ind(x, y, equal_var=False)
    found = dynamics.unpaired_difference(a, b, 0.9)
    assert found.p == pytest.approx(expected.pvalue)
    np.testing.assert_allclose(found[1:3], expected.confidence_interval(0.9))
    nothing = dynamics.Estimate(0.0, 0.0, 0.0, 0.0, 5.0)
    assert dynamics.unpaired_difference(nothing, nothing) == (0.0, 0.0, 0.0, 1.0)


def test_bad_input_is_named():
    first, last, member, _ = drawn(10)
    with pytest.raises(ValueError, match="last has shape"):
        dynamics.center_interval(first, last[:, 1:], member)
    with pytest.raises(ValueError, match="known_first has shape"):
        dynamics.center_interval(first, last, member, member[:1])
    with pytest.raises(ValueError, match="the last checkpoint has no record with calls on both sides"):
        dynamics.center_interval(first, last, member, None, member)
    with pytest.raises(ValueError, match="confidence is 95"):
        dynamics.center_interval(first, last, member, confidence=95)
    with pytest.raises(ValueError, match="confidence is 1"):
        dynamics.unpaired_difference(*[dynamics.Estimate(0.0, 0.0, 0.0, 1.0, 5.0)] * 2, 1)
