"""Who is called a member at each checkpoint of a trained run: against plain loops over models, and halves apart."""

import numpy as np
import pytest

from mia_jax import dynamics, study
from mia_jax.config import Config, DataConfig, FamilyConfig, MembershipConfig, RecordingConfig, TrainingConfig
from mia_jax.dynamics_study import calling
from mia_jax.runs.identity import RunError
from mia_jax.runs.segments import Segments
from mia_jax.study import observing

CHECKPOINTS = range(4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """24 MLPs of two layers on 48 records, four checkpoints. Read it, never write to it."""
    config = Config(
        name="tiny",
        data=DataConfig(
            source="synthetic:gaussian,classes=3,features=6,distance=1.5",
            pool_size=48,
            population_size=30,
            test_size=30,
        ),
        membership=MembershipConfig(num_models=24, train_size=24),
        families={"mlp": FamilyConfig(kind="mlp", hidden=12, layers=2)},
        training=TrainingConfig(epochs=30, batch_size=8, learning_rate=0.01),
        recording=RecordingConfig(epochs=(0, 2, 8, 30), logits="none"),
    )
    return study.train(config, tmp_path_factory.mktemp("calling"))


@pytest.fixture
def followed(run):
    return calling.follow(run, "mlp")


@pytest.fixture
def judge(run):
    return calling.judge(run, "mlp", "lira_online_global", 0.0)


def naive_lira(logit, member, allowed=None):
    """Leave-one-out LiRA with one variance, target by target. allowed: bool [K, K], who may be whose reference."""
    models = len(logit)
    scores = np.full(logit.shape, np.nan)
    for target in range(models):
        others = np.arange(models) != target
        if allowed is not None:
            others &= allowed[target]
        sides = []
        for side in (member, ~member):
            count = (side & others[:, None]).sum(axis=0)
            mean = np.where(side & others[:, None], logit, 0.0).sum(axis=0) / np.maximum(count, 1)
            squares = np.where(side & others[:, None], (logit - mean) ** 2, 0.0).sum(axis=0)
            some = count >= 2
            sides.append((mean, np.sqrt(squares[some].sum() / max(count[some].sum(), 1)), some))
        (mu_in, sd_in, some_in), (mu_out, sd_out, some_out) = sides
        if not (some_in & some_out).any():
            continue
        own = logit[target]
        ratio = -np.log(sd_in) - 0.5 * ((own - mu_in) / sd_in) ** 2
        ratio += np.log(sd_out) + 0.5 * ((own - mu_out) / sd_out) ** 2
        scores[target] = np.where(some_in & some_out, ratio, np.nan)
    return scores


def stored(run, checkpoint, name="scaled_logit"):
    return run.segments("mlp").signal(f"pool/{name}", checkpoint).astype(np.float64)


def whole(*given, **named):
    """The calls of one checkpoint and where they are known: bool [K, N] each."""
    found = list(calling.calls_at(*given, **named))
    assert [part.records.start for part in found] == [0, *(part.records.stop for part in found[:-1])]
    return tuple(np.concatenate([part[field] for part in found], axis=1) for field in (1, 2))


def by_loop(calls, known, member):
    """FPR and TPR by counting models one by one: [N] each."""
    fpr, tpr = np.full((2, member.shape[1]), np.nan)
    for record in range(member.shape[1]):
        for rate, inside in ((fpr, False), (tpr, True)):
            told = [
                bool(calls[k, record])
                for k in range(len(calls))
                if known[k, record] and member[k, record] == inside
            ]
            rate[record] = sum(told) / len(told) if told else np.nan
    return fpr, tpr


def test_the_plane_is_a_count_over_models(run, followed, judge):
    fpr, tpr = np.stack([calling.rates_at(followed, judge, t)[0] for t in CHECKPOINTS], axis=1)
    member = np.asarray(run.membership().member)
    assert fpr.shape == (4, 48)
    for checkpoint in CHECKPOINTS:
        scores = naive_lira(stored(run, checkpoint), member)
        expected = by_loop(scores >= 0, ~np.isnan(scores), member)
        np.testing.assert_array_equal(fpr[checkpoint], expected[0])
        np.testing.assert_array_equal(tpr[checkpoint], expected[1])
    assert np.mean(tpr[-1] - fpr[-1]) > np.mean(tpr[0] - fpr[0])  # it is a world in which something happens


@pytest.mark.parametrize("name", ["loss", "lira_online_global"])
def test_a_threshold_is_set_by_the_non_members_of_other_models(run, followed, name):
    """For every target there are others whose non-members exceed the threshold, as its calls show it, this rarely."""
    fpr = 0.1
    judge = calling.judge(run, "mlp", name, fpr)
    for checkpoint in (0, 3):
        called, known = whole(followed, judge, checkpoint)
        scores = stored(run, checkpoint, "log_prob")
        if name != "loss":
            scores = naive_lira(stored(run, checkpoint), followed.member)
        assert known.all()
        folds = {}
        for target in range(24):
            own, calls = scores[target], called[target]
            assert own[calls].min(initial=np.inf) > own[~calls].max(initial=-np.inf)
            folds.setdefault(target % 4, []).append(target)
        for targets in folds.values():
            others = np.setdiff1d(np.arange(24), targets)
            judges = np.sort(scores[others][~followed.member[others]])
            threshold = judges[judges.size - 1 - int(np.floor(fpr * judges.size))]
            np.testing.assert_array_equal(called[targets], scores[targets] > threshold)


def test_a_permuted_membership_takes_the_place_of_the_true_one(run, followed, judge):
    moved = followed.member[np.random.default_rng(0).permutation(24)]
    for checkpoint in CHECKPOINTS:
        now, there = whole(followed, judge, checkpoint, member=moved)
        scores = naive_lira(stored(run, checkpoint), moved)
        np.testing.assert_array_equal(now & there, scores >= 0)


def tampered(monkeypatch, rows):
    """Makes the signals of some models, bool [K], something else entirely."""
    honest = observing.reader

    def reader(run, family, checkpoint, *given, **named):
        read = honest(run, family, checkpoint, *given, **named)

        def changed(records, fields):
            seen = read(records, fields)
            noise = np.random.default_rng(checkpoint).normal(3.0, 5.0, np.shape(seen.member))
            found = {}
            for field in ("scaled_logit", "log_prob"):
                if getattr(seen, field) is not None:
                    values = np.asarray(getattr(seen, field), np.float64)
                    found[field] = np.where(rows[:, None], noise, values)
            return seen._replace(**found)

        return changed

    monkeypatch.setattr(observing, "reader", reader)


@pytest.mark.parametrize(
    ("name", "fpr"), [("lira_online_global", 0.0), ("lira_online_global", 0.1), ("loss", 0.1)]
)
def test_calls_of_one_half_do_not_depend_on_the_other(run, followed, monkeypatch, name, fpr):
    judge = calling.judge(run, "mlp", name, fpr)
    half = dynamics.model_halves(24, 1, np.random.default_rng(1))[0]
    before = [whole(followed, judge, t, half=half) for t in CHECKPOINTS]
    together = [whole(followed, judge, t) for t in CHECKPOINTS]
    tampered(monkeypatch, ~half)
    after = [whole(followed, judge, t, half=half) for t in CHECKPOINTS]
    mixed = [whole(followed, judge, t) for t in CHECKPOINTS]
    for (called, known), (now, there) in zip(before, after, strict=True):
        np.testing.assert_array_equal(now[half], called[half])
        np.testing.assert_array_equal(there[half], known[half])
        assert known[half].mean() > 0.5
        assert (now[~half] != called[~half]).any()
    assert any(
        (now[half] != called[half]).any() for (called, _), (now, _) in zip(together, mixed, strict=True)
    )


def test_twins_are_no_references_in_either_half(run, followed, judge, monkeypatch):
    twin = np.arange(24) ^ 1
    tied = twin[:, None] == np.arange(24)[None, :]
    honest = observing.reader

    def reader(*given, **named):
        read = honest(*given, **named)
        return lambda *asked: read(*asked)._replace(exclude=tied)

    monkeypatch.setattr(observing, "reader", reader)
    half = dynamics.model_halves(24, 1, np.random.default_rng(1), twin)[0]
    apart = half[:, None] != half[None, :]
    for given, left_out in ((None, tied), (half, tied | apart)):
        called, known = whole(followed, judge, 3, half=given)
        scores = naive_lira(stored(run, 3), followed.member, ~left_out)
        np.testing.assert_array_equal(known, ~np.isnan(scores))
        np.testing.assert_array_equal(called & known, scores >= 0)


def test_models_that_diverge_anywhere_are_left_out_everywhere(run, judge, monkeypatch):
    lost, honest = [3, 7], Segments.signal

    def signal(self, name, checkpoint, **some):
        values = honest(self, name, checkpoint, **some)
        if name.startswith("pool/") and checkpoint == 2:
            values[lost] = np.nan
        return values

    monkeypatch.setattr(Segments, "signal", signal)
    followed = calling.follow(run, "mlp")
    kept = np.setdiff1d(np.arange(24), lost)
    assert np.flatnonzero(~followed.valid).tolist() == lost
    for one in (judge, calling.judge(run, "mlp", "loss", 0.1)):
        for checkpoint in CHECKPOINTS:
            called, known = whole(followed, one, checkpoint)
            assert not known[lost].any()
            if one is judge:
                scores = naive_lira(stored(run, checkpoint)[kept], followed.member[kept])
                np.testing.assert_array_equal(called[kept] & known[kept], scores >= 0)
            assert known[kept].mean() > 0.9
    fpr, tpr = dynamics.plane(called[:, None], followed.member, known[:, None])
    assert np.isfinite(fpr + tpr).all()


def test_what_is_followed_is_the_run(run, followed):
    assert followed.member.sum(axis=1).tolist() == [24] * 24
    np.testing.assert_array_equal(followed.member, np.asarray(run.membership().member))
    assert followed.valid.all()
    assert not followed.never.any()
    assert (followed.twin == -1).all()


def test_who_calls_is_said_in_words(run):
    assert calling.judge(run, "mlp", "lira_online_global", 0.0).who == (
        "lira_online_global, where its score is at least 0"
    )
    assert calling.judge(run, "mlp", "loss", 0.1).who == "loss, at an FPR of 0.1"


def test_an_attack_whose_arrays_were_not_recorded_is_refused(run):
    with pytest.raises(
        RunError, match=r"names gradient_norm, which at every checkpoint needs gradient_norm \(rec"
    ):
        calling.judge(run, "mlp", "gradient_norm", 0.1)


def test_an_unfinished_training_is_refused(run):
    more = run.with_section("membership", {"num_models": 26})
    with pytest.raises(RunError, match="holds 24 of 26 finished models of family mlp"):
        calling.follow(more, "mlp")


def test_attacks_fitted_on_folds_of_models_call_in_halves_too(run, followed):
    fitted = calling.judge(run, "mlp", "confidence_by_class", 0.1)
    half = np.arange(24) % 2 == 0
    _, known = whole(followed, fitted, 3, half=half)
    assert known.all()
