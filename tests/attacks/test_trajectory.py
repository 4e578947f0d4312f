"""The loss trajectory: what the last checkpoint hides is found in the ones before it, and nothing else is."""

import logging

import jax
import numpy as np
import pytest
from scipy import stats

from mia_jax.attacks import Observations
from mia_jax.attacks.trajectory import attacks, loss_trajectory
from mia_jax.config import AttacksConfig

# As in the tests of the shadow classifier: its program is this one's too.
K, T, N, ROWS, EPOCHS = 16, 3, 64, 512, 40
KEY = jax.random.key(4)


def halves(rng):
    return np.argsort(rng.random((K, N)), axis=1) < N // 2


def trajectory_of(rng, member, shifts):
    """Log-losses are normal, lower for members by one of `shifts` at each checkpoint: [K, T, N]."""
    shift = np.asarray(shifts, float)[:, None] * member[:, None, :]
    return -np.exp(rng.normal(size=shift.shape) - 2.0 - shift)


def scores_of(trajectory, member, *, key=KEY, **options):
    return loss_trajectory(trajectory, member, key=key, rows=ROWS, epochs=EPOCHS, **options)


@pytest.mark.parametrize("shifts", [(1.2,), (0.0, 1.2, 0.0), (0.8, 0.6, 0.7)])
def test_it_comes_close_to_the_best_there_is(shifts, auc_of):
    rng = np.random.default_rng(0)
    member = halves(rng)
    bayes = stats.norm.cdf(np.linalg.norm(shifts) / np.sqrt(2))
    assert bayes - 0.06 < auc_of(scores_of(trajectory_of(rng, member, shifts), member), member) < bayes + 0.03


def test_checkpoints_that_only_tell_together_are_read_together(auc_of):
    rng = np.random.default_rng(1)
    member = halves(rng)
    hardness = 3.0 * rng.normal(size=(K, N))  # moves both checkpoints, and hides what members gain in between
    fallen = np.stack([hardness, hardness - 1.0 - 1.5 * member + 0.5 * rng.normal(size=(K, N))], axis=1)
    trajectory = -np.exp(fallen - 3.0)
    assert auc_of(trajectory[:, -1], member) < 0.68
    assert auc_of(scores_of(trajectory, member), member) > 0.9


@pytest.mark.parametrize("scale", ["log", "raw"])
def test_it_finds_nothing_where_there_is_nothing(scale, mean_target_auc):
    aucs = []
    for world in range(8):
        rng = np.random.default_rng(world)
        member = halves(rng)
        scores = scores_of(
            trajectory_of(rng, member, (0, 0, 0)), member, key=jax.random.key(world), scale=scale
        )
        aucs.append(mean_target_auc(scores, member))
    error = np.std(aucs, ddof=1) / np.sqrt(len(aucs))
    assert abs(np.mean(aucs) - 0.5) < 4 * error
    assert error < 0.015  # else the line above would accept anything


def test_small_losses_are_told_apart_by_their_logarithm_alone(auc_of):
    rng = np.random.default_rng(2)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (3.0,)) * 1e-4
    trajectory[:, :, ::8] = -5.0  # what sets the scale
    log, raw = (auc_of(scores_of(trajectory, member, scale=scale), member) for scale in ("log", "raw"))
    assert log > 0.9
    assert raw < log - 0.1


def test_losses_beyond_the_limits_count_as_the_limits():
    rng = np.random.default_rng(3)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    extreme, limit = trajectory.copy(), trajectory.copy()
    extreme[:, :, 0], extreme[:, :, 1] = -1e30, 0.0
    limit[:, :, 0], limit[:, :, 1] = -20.0, -1e-9
    for scale in ("log", "raw"):
        scores = scores_of(extreme, member, scale=scale)
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(scores, scores_of(limit, member, scale=scale))


def test_a_lie_about_one_targets_membership_leaves_its_whole_fold_as_it_was():
    rng = np.random.default_rng(4)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    lied = member.copy()
    lied[6] = False
    before, after = scores_of(trajectory, member), scores_of(trajectory, lied)
    own = np.arange(K) % 4 == 6 % 4
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).mean() > 0.9


def test_another_folds_losses_set_the_scale_but_not_ones_own():
    rng = np.random.default_rng(5)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    changed = trajectory.copy()
    changed[6] *= 10.0
    before, after = scores_of(trajectory, member), scores_of(changed, member)
    np.testing.assert_array_equal(before[[2, 10, 14]], after[[2, 10, 14]])
    assert (before[0] != after[0]).any()


def test_invalid_models_teach_nothing_and_get_nan():
    rng = np.random.default_rng(6)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    valid = np.arange(K) != 9
    poisoned = trajectory.copy()
    poisoned[9] = np.nan
    scores = scores_of(trajectory, member, valid=valid)
    np.testing.assert_array_equal(scores, scores_of(poisoned, member, valid=valid))
    np.testing.assert_array_equal(np.isnan(scores), np.repeat(~valid[:, None], N, axis=1))


def test_twins_share_a_fold():
    rng = np.random.default_rng(7)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    exclude = (np.arange(K) ^ 1)[:, None] == np.arange(K)[None, :]
    lied = member.copy()
    lied[7] = ~lied[7]
    before, after = (scores_of(trajectory, held, exclude=exclude) for held in (member, lied))
    np.testing.assert_array_equal(before[6], after[6])


def test_the_key_decides():
    rng = np.random.default_rng(8)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    one, again, other = (scores_of(trajectory, member, key=jax.random.key(n)) for n in (0, 0, 1))
    assert one.tobytes() == again.tobytes()
    assert (one != other).all()


def test_no_checkpoint_up_to_the_eighth_compiles_anew(caplog):
    rng = np.random.default_rng(9)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, np.ones(8))
    scores_of(trajectory[:, :1], member)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for length in (2, 5, 8):
            scores_of(trajectory[:, :length], member)
    assert not [r for r in caplog.records if "Finished XLA compilation" in r.getMessage()]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"trajectory": np.full((K, T, N), 0.5)},
            r"trajectory\[0, 0, 0\] is 0.5: log-probabilities must be at most 0",
        ),
        ({"trajectory": np.full((K, N), -1.0)}, r"trajectory has shape \(16, 64\)"),
        ({"trajectory": np.full((K, T, N), -np.inf)}, r"trajectory\[0, 0, 0\] is -inf"),
        ({"scale": "loss"}, "scale is 'loss': it must be one of 'log', 'raw'"),
        ({"member": np.ones((K, T), bool)}, r"member has shape \(16, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    rng = np.random.default_rng(10)
    member = halves(rng)
    given = {"trajectory": trajectory_of(rng, member, (1, 1, 1)), "member": member}
    with pytest.raises(ValueError, match=sentence):
        loss_trajectory(**(given | change), key=KEY)


def test_the_choice_takes_the_configs_constants_and_leaves_its_inputs_alone():
    rng = np.random.default_rng(11)
    member = halves(rng)
    trajectory = trajectory_of(rng, member, (1, 1, 1))
    (attack,) = attacks(AttacksConfig(classifier_rows=ROWS, classifier_epochs=EPOCHS))
    before = trajectory.copy()
    scores = attack.score(Observations(member, key=KEY, trajectory=trajectory))
    np.testing.assert_array_equal(scores, scores_of(trajectory, member))
    np.testing.assert_array_equal(trajectory, before)
