"""The shadow classifier: it finds what is there, nothing where nothing is, and never looks at its own targets."""

import functools
import importlib
import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.special import log_softmax

from mia_jax.attacks import Observations
from mia_jax.attacks.classifier import attacks, shadow_classifier, step_classifier
from mia_jax.attacks.cross_fit import Classifier, cross_fit, draw, plan_of
from mia_jax.config import AttacksConfig
from mia_jax.models import Model, count_parameters
from mia_jax.models.attack_networks import membership_mlp

# The package has a function of the module's name.
MODULE = importlib.import_module("mia_jax.attacks.classifier")

# One shape for all: its program is compiled once.
K, N, C, ROWS, EPOCHS = 16, 64, 4, 512, 40
LABELS = np.arange(N) % C
KEY = jax.random.key(3)


def halves(rng, num_models=K, num_records=N):
    return np.argsort(rng.random((num_models, num_records)), axis=1) < num_records // 2


def logits_of(rng, member, shift, hardness=0.0):
    """The label's logit is the only one that moves: normal, higher for members by `shift`."""
    of_label = 1.0 + hardness * LABELS + shift * member + rng.normal(size=member.shape)
    return np.where(np.arange(C) == LABELS[:, None], of_label[..., None], 0.0)


def scores_of(logits, member, *, key=KEY, **options):
    return shadow_classifier(logits, LABELS, member, key=key, rows=ROWS, epochs=EPOCHS, **options)


def init(key, x):
    return {"weights": jax.random.normal(key, (x.size, 2))}


def apply(params, x, *, key=None, train=False):
    return x @ params["weights"]


# Logistic regression without a constant, whose gradient starts at 0, where Adam follows rounding.
LINEAR = Model(init, apply)


@pytest.fixture
def by_class(monkeypatch):
    """Scores of one classifier for each class, by logistic regression: here who sees what is in question."""
    monkeypatch.setattr(MODULE, "membership_mlp", lambda: LINEAR)
    return functools.partial(scores_of, by_class=True)


# It finds what is there


@pytest.mark.parametrize("hardness", [0.0, 0.8])
def test_it_comes_close_to_the_best_there_is(hardness, auc_of):
    rng = np.random.default_rng(0)
    member = halves(rng)
    logits = logits_of(rng, member, 1.5, hardness)
    bayes = stats.norm.cdf(1.5 / np.sqrt(2))  # given the label, the likelihood ratio rises with the logit
    found = auc_of(scores_of(logits, member), member)
    assert bayes - 0.05 < found < bayes + 0.03
    if hardness:  # without the label nobody does as well
        assert auc_of(logits.max(axis=-1), member) < found - 0.03


def test_it_finds_nothing_where_there_is_nothing(mean_target_auc):
    aucs = []
    for world in range(8):
        rng = np.random.default_rng(world)
        member = halves(rng)
        scores = scores_of(logits_of(rng, member, 0.0), member, key=jax.random.key(world))
        aucs.append(mean_target_auc(scores, member))
    error = np.std(aucs, ddof=1) / np.sqrt(len(aucs))
    assert abs(np.mean(aucs) - 0.5) < 4 * error
    assert error < 0.015  # else the line above would accept anything


def test_posteriors_at_the_limit_of_float32_give_finite_scores():
    rng = np.random.default_rng(1)
    member = halves(rng)
    scores = scores_of(1e4 * logits_of(rng, member, 1.0), member)
    assert np.isfinite(scores).all()
    assert scores.dtype == np.float64


# It is the loop one would write


def test_cross_fitting_is_the_loop_over_folds():
    """Rows as drawn, everything else by hand: moments, Adam, who is judged by whom, the difference of logits."""
    rng = np.random.default_rng(2)
    member, x = halves(rng, 5, 12), rng.normal(2.0, 3.0, size=(5, 12, 2))
    plan = plan_of(member, member.shape, np.arange(5) != 3, 2, None)
    plan = plan._replace(groups=[np.arange(0, 12, 2), np.arange(1, 12, 2)])
    scores = cross_fit(Classifier(LINEAR, 20, 2, 0.1, standardise=True), plan, lambda k, n: x[k, n], KEY)
    drawing, learning = jax.random.split(KEY)
    drawn = draw(plan, 20, drawing)
    keys = jax.random.split(jax.random.fold_in(learning, 0), 3)
    for number, (fold, group) in enumerate(plan.classifiers):
        models, records, mask = (part[number] for part in drawn)
        own = x[models, records][mask]
        centre, scale = own.mean(axis=0), own.std(axis=0)
        params = logistic_by_hand(
            (x[models, records] - centre) / scale, member[models, records], mask, keys, number
        )
        for target in np.flatnonzero(plan.fold == fold):
            rows = plan.groups[group]
            said = (x[target, rows] - centre) / scale @ params["weights"]
            expected = said[:, 1] - said[:, 0] if target != 3 else np.full(len(rows), np.nan)
            np.testing.assert_allclose(scores[target, rows], expected, rtol=2e-4, atol=1e-4)


def logistic_by_hand(x, y, mask, keys, number):
    """Two epochs of Adam in batches of 64 on the rows that count."""
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, int)
    params = init(jax.random.fold_in(keys[0], number), x[0])
    optimizer = optax.adam(0.1)
    state = optimizer.init(params)

    @jax.jit
    @jax.grad
    def gradient(params):
        log_probs = jax.nn.log_softmax(x @ params["weights"])
        return -jnp.sum(jnp.where(mask, log_probs[jnp.arange(len(y)), y], 0.0)) / mask.sum()

    for _ in range(2):  # fewer rows than 64: every epoch is one step on all, in whatever order
        updates, state = optimizer.update(gradient(params), state)
        params = optax.apply_updates(params, updates)
    return jax.tree.map(np.asarray, params)


def test_the_network_is_the_papers():
    widths = (2 * C, 32, 64, 32, 16, 2)
    expected = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    assert count_parameters(membership_mlp(), np.zeros(2 * C, np.float32)) == expected


def test_a_fifth_of_its_second_layer_is_dropped_in_training_alone():
    network, x = membership_mlp(), np.ones(2 * C, np.float32)
    shapes = jax.eval_shape(network.init, KEY, x)
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), shapes)
    params["dense_2"]["kernel"] = np.eye(
        64, 32, dtype=np.float32
    )  # what the dropout lets through, unit by unit
    params["dense_3"]["kernel"] = np.eye(32, 16, dtype=np.float32)
    params["head"]["kernel"] = np.eye(16, 2, dtype=np.float32)
    say = jax.jit(jax.vmap(lambda key: network.apply(params, x, key=key, train=True)))
    said = np.asarray(say(jax.random.split(KEY, 500)))
    (whole,) = set(np.asarray(jax.jit(network.apply)(params, x)).tolist())
    kept = said > 0.5 * whole
    assert kept.mean() == pytest.approx(0.8, abs=0.05)
    np.testing.assert_allclose(
        said[kept] - 0.3, (whole - 0.3) / 0.8, rtol=1e-5
    )  # less the biases that follow
    np.testing.assert_allclose(said[~kept], 0.3, rtol=1e-5)


# Nobody is judged by what has seen it


def test_a_lie_about_one_targets_membership_leaves_its_whole_fold_as_it_was():
    rng = np.random.default_rng(3)
    member = halves(rng)
    logits = logits_of(rng, member, 1.0)
    lied = member.copy()
    lied[5] = True
    before, after = scores_of(logits, member), scores_of(logits, lied)
    own = np.arange(K) % 4 == 5 % 4
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).mean() > 0.9


def test_twins_share_a_fold(by_class):
    rng = np.random.default_rng(4)
    member = halves(rng)
    member[1::2] = ~member[::2]
    logits = logits_of(rng, member, 1.0)
    exclude = (np.arange(K) ^ 1)[:, None] == np.arange(K)[None, :]
    lied, changed = member.copy(), logits.copy()
    lied[7], changed[7] = ~lied[7], 0.0
    for score in (scores_of, by_class):
        before, after = score(logits, member, exclude=exclude), score(changed, lied, exclude=exclude)
        np.testing.assert_array_equal(before[6], after[6])
        assert (before[5] != after[5]).any()


def test_invalid_models_teach_nothing_and_get_nan():
    rng = np.random.default_rng(5)
    member = halves(rng)
    logits = logits_of(rng, member, 1.0)
    valid = ~np.isin(np.arange(K), (2, 9))
    scores = scores_of(logits, member, valid=valid)
    poisoned, lied = logits.copy(), member.copy()
    poisoned[~valid], lied[~valid] = np.nan, ~lied[~valid]
    np.testing.assert_array_equal(scores, scores_of(poisoned, lied, valid=valid))
    np.testing.assert_array_equal(np.isnan(scores), np.repeat(~valid[:, None], N, axis=1))


def test_where_the_others_have_one_side_only_there_is_no_score(by_class):
    rng = np.random.default_rng(6)
    member = halves(rng)
    member[:, LABELS == 2] = True
    logits = logits_of(rng, member, 1.0)
    scores = by_class(logits, member)
    np.testing.assert_array_equal(np.isnan(scores).all(axis=0), LABELS == 2)
    assert np.isfinite(scores[:, LABELS != 2]).all()
    assert np.isnan(scores_of(logits, np.ones_like(member))).all()


def test_by_class_a_classifier_sees_its_own_class_alone(by_class):
    rng = np.random.default_rng(7)
    member = halves(rng)
    logits = logits_of(rng, member, 1.0)
    changed = np.where((LABELS == 1)[:, None], rng.normal(size=logits.shape), logits)
    before, after = (by_class(z, member) for z in (logits, changed))
    np.testing.assert_array_equal(before[:, LABELS != 1], after[:, LABELS != 1])
    assert (before[:, LABELS == 1] != after[:, LABELS == 1]).all()


@pytest.mark.slow
def test_one_for_each_class_finds_what_differs_between_classes(auc_of):
    rng = np.random.default_rng(8)
    member = halves(rng)
    direction = np.where(LABELS % 2, 2.0, -2.0)  # in odd classes members stand out, in even ones they hide
    logits = logits_of(rng, member, direction)
    assert auc_of(scores_of(logits, member, by_class=True), member) > 0.85
    assert auc_of(logits.max(axis=-1), member) < 0.6


# The rows that are drawn


def plan_for_drawing(rng, num_models=12, num_records=10, usable=None):
    member = halves(rng, num_models, num_records)
    usable = np.ones(num_models, bool) if usable is None else usable
    return plan_of(member, member.shape, usable, 3, None)


@pytest.mark.parametrize("rows", [2, 20, 21, 10_000])
def test_rows_are_balanced_distinct_usable_and_of_other_folds(rows):
    usable = np.arange(12) != 4
    plan = plan_for_drawing(np.random.default_rng(9), usable=usable)
    drawn = draw(plan, rows, KEY)
    for number, (fold, _) in enumerate(plan.classifiers):
        models, records = drawn.models[number][drawn.mask[number]], drawn.records[number][drawn.mask[number]]
        available = (plan.fold != fold) & usable
        fewest = min(plan.member[available].sum(), (~plan.member[available]).sum())
        assert models.size == 2 * min(rows // 2, fewest)
        assert plan.member[models, records].sum() == models.size / 2
        assert len(set(zip(models.tolist(), records.tolist(), strict=True))) == models.size
        assert available[models].all()


def test_every_pair_is_drawn_equally_often():
    plan = plan_for_drawing(np.random.default_rng(10), 6, 8)
    counts = np.zeros((6, 8))
    for key in jax.random.split(KEY, 80):
        drawn = draw(plan, 8, key)
        np.add.at(counts, (drawn.models[0], drawn.records[0]), 1)
    assert counts[plan.fold == 0].sum() == 0
    for side in (True, False):
        drawn_pairs = counts[plan.fold != 0][plan.member[plan.fold != 0] == side]
        assert stats.chisquare(drawn_pairs).pvalue > 1e-3


def test_how_many_places_there_are_does_not_depend_on_membership():
    shapes = set()
    for share in (0.1, 0.5, 0.9):
        member = np.random.default_rng(11).random((9, 15)) < share
        shapes.add(draw(plan_of(member, (9, 15), np.ones(9, bool), 3, None), 50, KEY).mask.shape)
    assert len(shapes) == 1


# Keys, compilation, refusals


def test_the_key_decides():
    rng = np.random.default_rng(12)
    member = halves(rng)
    logits = logits_of(rng, member, 1.0)
    one, again, other = (scores_of(logits, member, key=jax.random.key(n)) for n in (0, 0, 1))
    assert one.tobytes() == again.tobytes()
    assert (one != other).all()


def test_at_the_second_checkpoint_nothing_is_compiled(by_class, caplog):
    def checkpoint(seed, valid):
        rng = np.random.default_rng(seed)
        member = halves(rng)
        for score in (scores_of, by_class):
            score(logits_of(rng, member, 1.0), member, valid=valid)

    checkpoint(0, None)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        checkpoint(1, np.arange(K) != 3)
    assert not [r for r in caplog.records if "Finished XLA compilation" in r.getMessage()]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": LABELS + 1}, r"labels\[3\] is 4: labels must lie in 0 to 3"),
        ({"labels": LABELS.astype(float)}, "labels is float64 of shape"),
        ({"labels": LABELS[:-1]}, r"it must be integers of shape \(64,\)"),
        ({"logits": np.zeros((K, N))}, r"logits has shape \(16, 64\)"),
        ({"logits": np.full((K, N, C), np.nan)}, r"logits\[0, 0, 0\] is nan"),
        ({"member": np.ones((K, N - 1), bool)}, r"member has shape \(16, 63\)"),
        ({"folds": 1}, "folds is 1: it must be at least 2"),
        ({"rows": 1}, "rows is 1: it must be at least 2"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    given = {"logits": np.zeros((K, N, C)), "labels": LABELS, "member": halves(np.random.default_rng(0))}
    with pytest.raises(ValueError, match=sentence):
        shadow_classifier(**(given | change), key=KEY)


def test_inputs_stay_as_they_are():
    rng = np.random.default_rng(13)
    member = halves(rng)
    logits = logits_of(rng, member, 1.0)
    before = logits.copy(), member.copy()
    scores_of(logits, member)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(member, before[1])


# Steps of a sequence


@pytest.mark.slow
def test_what_only_an_early_step_tells_is_found_by_the_reader_of_steps(auc_of):
    rng = np.random.default_rng(14)
    member = halves(rng, 8, 40)
    labels = np.arange(40) % 2
    logits = rng.normal(size=(8, 40, 3, 2))
    logits[:, :, 0] += 4.0 * (member[..., None] & (np.arange(2) == labels[:, None]))
    scores = step_classifier(logits, labels, member, key=KEY, folds=2, rows=160, epochs=15)
    last = shadow_classifier(logits[:, :, -1], labels, member, key=KEY, folds=2, rows=160, epochs=15)
    assert auc_of(scores, member) > 0.9
    assert auc_of(last, member) < 0.6


def test_steps_enter_as_posteriors_with_the_label_at_each(monkeypatch):
    seen = {}

    def instead(lesson, blocks):
        seen["x"] = lesson.read(blocks.first("step_logits", "labels"))(
            np.array([[1], [2]]), np.array([[0, 3], [3, 1]])
        )

    monkeypatch.setattr(MODULE, "learn", instead)
    monkeypatch.setattr(MODULE, "judge", lambda lesson, observed, learned: np.zeros(observed.member.shape))
    rng = np.random.default_rng(15)
    logits, labels = rng.normal(size=(4, 5, 3, 2)), np.array([0, 1, 1, 0, 1])
    step_classifier(logits, labels, halves(rng, 4, 5), key=KEY)
    assert seen["x"].shape == (2, 2, 3, 4)
    for place, (model, record) in {(0, 0): (1, 0), (0, 1): (1, 3), (1, 1): (2, 1)}.items():
        np.testing.assert_allclose(
            seen["x"][place][:, :2], np.exp(log_softmax(logits[model, record], axis=-1)), rtol=1e-6
        )
        np.testing.assert_array_equal(seen["x"][place][:, 2:], np.eye(2)[[labels[record]] * 3])


def test_the_choices_take_the_configs_constants(monkeypatch):
    seen = []

    def instead(lesson, observed, learned):
        classifier = lesson.classifier
        seen.append((classifier.rows, classifier.epochs, classifier.learning_rate, lesson.folds))
        return np.zeros(observed.member.shape)

    monkeypatch.setattr(MODULE, "learn", lambda lesson, blocks: None)
    monkeypatch.setattr(MODULE, "judge", instead)
    rng = np.random.default_rng(16)
    member = halves(rng)
    logits = logits_of(rng, member, 1.0)
    observations = Observations(member, logits=logits, step_logits=logits[:, :, None], labels=LABELS)
    for attack in attacks(AttacksConfig(folds=3, classifier_rows=100, classifier_epochs=7)):
        assert attack.needs <= {name for name, value in observations._asdict().items() if value is not None}
        attack.score(observations)
    assert seen == [(100, 7, 1e-3, 3), (100, 7, 1e-3, 3), (100, 7, 1e-2, 3)]
