"""Many noisy releases of trained models: the noise, what is common to draws and sigmas, and its rows."""

import dataclasses
import shutil
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mia_jax import attacks, audit, data, keys, membership, models, study, summary
from mia_jax.attacks import Observations
from mia_jax.config import (
    AttacksConfig,
    CanariesConfig,
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    ReportConfig,
    TrainingConfig,
)
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.privacy.noise import gaussian_noise
from mia_jax.releases import evaluate, release_rows
from mia_jax.runs import run_directory
from mia_jax.runs.identity import RunError
from mia_jax.study import observing
from mia_jax.training import Plan, plan, train_shadow_models
from mia_jax.types import Dataset, Membership, Records

FEATURES, CLASSES, MODELS = 4, 3, 5
KEY = jax.random.key(8)


def _apply(params, x, *, key=None, train=False):
    return jnp.tanh(x @ params["in"] + params["bias"]) @ params["out"]


TINY = Model(lambda key, x: None, _apply)
BARE = Model(lambda key, x: None, lambda params, x, **rest: jnp.stack([params["w"], 0.0 * params["w"]]))
"""Two logits, w and 0: what it says of label 0 is its only parameter."""


def records(size, seed, classes=CLASSES):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, FEATURES)).astype(np.float32)
    return Records(x, rng.integers(0, classes, size).astype(np.int32))


@pytest.fixture(scope="module")
def dataset():
    return Dataset(records(7, 1), records(3, 2), records(4, 3), CLASSES, 0, {})


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(4)
    shapes = {"in": (MODELS, FEATURES, 6), "bias": (MODELS, 6), "out": (MODELS, 6, CLASSES)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_release_is_the_model_with_its_own_noise(params, dataset):
    """A Python loop over sigmas, models and draws."""
    sigmas = (0.0, 0.05, 2.0)
    said = list(evaluate(TINY, params, dataset, sigmas, num_draws=3, key=KEY, logits=True))
    assert len(said) == 3
    for sigma, released in zip(sigmas, said, strict=True):
        assert released.logits.shape == (MODELS, 3, 7, CLASSES)
        for k in range(MODELS):
            one = jax.tree.map(lambda leaf, k=k: leaf[k], params)
            for r in range(3):
                own = jax.random.fold_in(jax.random.fold_in(KEY, k), r)
                noise = gaussian_noise(own, one, sigma)
                noisy = {name: np.asarray(one[name] + noise[name], np.float64) for name in one}
                for part, told in zip(dataset[:3], released[:3], strict=True):
                    z = np.tanh(part.x @ noisy["in"] + noisy["bias"]) @ noisy["out"]
                    log_prob = (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[range(part.size), part.y]
                    np.testing.assert_allclose(told.log_prob[k, r], log_prob, rtol=1e-4, atol=1e-5)
                    np.testing.assert_array_equal(told.correct[k, r], z.argmax(axis=1) == part.y)
                z = np.tanh(dataset.pool.x @ noisy["in"] + noisy["bias"]) @ noisy["out"]
                np.testing.assert_allclose(released.logits[k, r], z, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def bare():
    """The noise of 4 models' 1,500 draws, at sigma 1 and 3, and at 1 with another key: [K, R] each."""
    label_0 = Records(np.zeros((1, FEATURES), np.float32), np.zeros(1, np.int32))
    world = Dataset(label_0, label_0, label_0, 2, 0, {})
    params = {"w": np.zeros(4, np.float32)}

    def noise(sigmas, key):
        said = evaluate(BARE, params, world, sigmas, num_draws=1500, key=key)
        return [released.pool.scaled_logit[..., 0] for released in said]

    return [*noise((1.0, 3.0), KEY), *noise((1.0,), jax.random.key(9))]


def test_the_noise_is_normal_and_of_its_own_for_every_model_and_draw(bare):
    one, _, other = bare
    assert one.shape == (4, 1500)
    assert stats.kstest(one.ravel(), "norm").pvalue > 1e-3
    assert abs(one.mean()) < 4 / np.sqrt(one.size)
    assert abs(one.std() - 1.0) < 4 / np.sqrt(2 * one.size)
    together = np.corrcoef([*one, *other])
    assert abs(together - np.eye(8)).max() < 4.5 / np.sqrt(1500)
    # A float32 uniform has 2^23 values: nine pairs of 12,000 meet by chance.
    assert np.unique(np.stack([one, other])).size > 2 * one.size - 40


def test_sigmas_share_their_random_numbers(bare):
    np.testing.assert_allclose(bare[1], 3.0 * bare[0], rtol=1e-5)


@pytest.fixture(scope="module")
def trained(dataset):
    """Five models of a kind and what they said after training, so many mapped together."""
    world = dataset._replace(pool=records(12, 1))
    member = np.array([np.isin(np.arange(12), np.arange(k, k + 6)) for k in range(MODELS)])
    drawn = Membership(member, *membership.padded_indices(member, 6), np.full(MODELS, -1, np.int32))

    def trained(family, together):
        model = models.build(family, world)
        training = TrainingConfig(epochs=2, batch_size=3, models_per_chunk=4, models_together=together)
        sizes = Plan(4, together)
        segments = train_shadow_models(model, world, drawn, training, (2,), keys.roots(1), sizes=sizes)
        seen = [(one.observed, one.state.params) for one in segments]
        return model, world, sizes, *jax.tree.map(lambda *leaves: np.concatenate(leaves), *seen)

    return trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "together"),
    [(FamilyConfig(kind="lstm", hidden=5, steps=2), 1), (FamilyConfig(kind="mlp", hidden=20), 2)],
    ids=["lstm", "mlp"],
)
def test_without_noise_models_say_what_they_said_bit_for_bit(trained, family, together):
    model, world, sizes, observed, params = trained(family, together)
    (said,) = evaluate(model, params, world, (0.0,), num_draws=2, key=KEY, sizes=sizes)
    for draw in range(2):
        for part in ("pool", "population", "test"):
            own = jax.tree.map(lambda leaf, draw=draw: leaf[:, draw], getattr(said, part))
            same_bits(own, getattr(observed, part))


@pytest.fixture(scope="module")
def grown(params, dataset):
    """Two models once on one device at .3; five models five times in chunks on two, at three more sigmas;
    and how often the model was traced for each.
    """
    traces = Counter()

    def apply(params, x, **rest):
        traces[x.shape] += 1
        return _apply(params, x)

    model = Model(lambda key, x: None, apply)

    def released(num_models, num_draws, sigmas, devices, size):
        traces.clear()
        options = {"mesh": model_mesh(jax.devices()[:devices]), "sizes": Plan(size, 1)}
        own = jax.tree.map(lambda leaf: leaf[:num_models], params)
        said = list(evaluate(model, own, dataset, sigmas, num_draws=num_draws, key=KEY, **options))
        assert len(said) == len(sigmas)
        return said, traces.total()

    return released(2, 1, (0.3,), 1, 2), released(5, 5, (0.0, 0.3, 1.0, 10.0), 2, 4)


def test_more_models_draws_sigmas_and_devices_change_nothing(grown):
    ((few,), _), ((_, more, *_), _) = grown
    same_bits(jax.tree.map(lambda leaf: leaf[:2, :1], more), few)


def test_all_sigmas_models_draws_and_chunks_are_one_program(grown):
    (_, of_one), (_, of_all) = grown
    assert of_one == of_all > 0


def test_a_pattern_puts_noise_on_part_of_the_parameters(params, dataset):
    """Noise on `out` alone leaves a model without hidden units as it was."""
    dull = {**params, "in": np.zeros_like(params["in"]), "bias": np.zeros_like(params["bias"])}
    options = {"num_draws": 2, "key": KEY}
    plain, on_bias = evaluate(TINY, dull, dataset, (0.0, 1.0), parameters="^bias$", **options)
    (on_out,) = evaluate(TINY, dull, dataset, (1.0,), parameters="^out$", **options)
    same_bits(on_out, plain)
    assert (on_bias.pool.log_prob != plain.pool.log_prob).all()
    with pytest.raises(ValueError, match="parameters is 'recurrent'"):
        evaluate(TINY, dull, dataset, (1.0,), parameters="recurrent", **options)


def test_what_cannot_be_released_is_refused(params, dataset):
    for sigma in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"sigmas holds {sigma}: each must be finite and at least 0"):
            evaluate(TINY, params, dataset, (0.1, sigma), num_draws=1, key=KEY)
    with pytest.raises(ValueError, match="num_draws is 0: it must be at least 1"):
        evaluate(TINY, params, dataset, (0.1,), num_draws=0, key=KEY)
    with pytest.raises(ValueError, match=r"sigmas is 0\.1: it must be a sequence of numbers"):
        evaluate(TINY, params, dataset, 0.1, num_draws=1, key=KEY)
    with pytest.raises(ValueError, match="root is 0: it must be a random key of JAX"):
        evaluate(TINY, params, dataset, (0.1,), num_draws=1, key=0)


# Rows of a run ---------------------------------------------------------------------------


CONFIG = Config(
    name="released",
    data=DataConfig(
        source="synthetic:gaussian,classes=3,features=6,distance=1.0",
        pool_size=40,
        population_size=30,
        test_size=20,
    ),
    membership=MembershipConfig(num_models=12, train_size=20, design="paired"),
    families={"mlp": FamilyConfig(kind="mlp", hidden=16)},
    training=TrainingConfig(epochs=60, batch_size=8, models_per_chunk=6, learning_rate=0.02),
    recording=RecordingConfig(num_checkpoints=2),
    attacks=AttacksConfig(
        names=("loss", "lira_online", "rmia_offline", "loss_trajectory"),
        classifier_rows=256,
        classifier_epochs=2,
    ),
    report=ReportConfig(fpr=(0.1, 0.001)),
    canaries=CanariesConfig(count=12, kind="out_of_distribution"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small study, trained: its run, model and data."""
    run = study.train(CONFIG, tmp_path_factory.mktemp("run"))
    dataset = data.load(CONFIG.data, CONFIG.canaries)
    return run, models.build_families(CONFIG.families, dataset)[1]["mlp"], dataset


SIGMAS = (0.0, 0.1, 1e4)


@pytest.fixture(scope="module")
def rows(world):
    run, model, dataset = world
    return release_rows(run, "mlp", model, dataset, SIGMAS, 3, 1e-5)


def at(rows, sigma, attack):
    (row,) = [row for row in rows["results"] if (row["sigma"], row["attack"]) == (sigma, attack)]
    return row


def estimates(row):
    return {name: value for name, value in row.items() if name not in ("sigma", "draws")}


def assert_same_row(row, expected):
    assert estimates(row).keys() == expected.keys()
    for name, value in expected.items():
        assert row[name] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), name


@pytest.mark.slow
def test_without_noise_the_rows_are_the_runs_own(world, rows):
    run = world[0].with_section("attacks", {"names": CONFIG.attacks.names[:3]})
    study.attack(run)
    inputs = study.summarise(run)
    for expected in inputs.results:
        if expected["epoch"] == 60:
            own = {name: value for name, value in expected.items() if name != "auc_p_holm"}
            assert_same_row(at(rows, 0.0, expected["attack"]), own)
    assert_same_row(rows["utility"][0], dict(inputs.utility[-1]))
    audits = [estimates(row) for row in rows["audits"] if row["sigma"] == 0.0]
    assert audits == [dict(row) for row in inputs.audits]
    assert len(audits) > 1


@pytest.mark.slow
def test_without_noise_a_runs_models_say_what_it_recorded_bit_for_bit(world):
    run, model, dataset = world
    shapes = jax.eval_shape(model.init, KEY, models.one_record(dataset))
    params, sizes = run.segments("mlp").parameters(1, shapes), plan(CONFIG.training, 12, model_mesh())
    (said,) = evaluate(model, params, dataset, (0.0,), num_draws=3, key=KEY, sizes=sizes)
    for part, name in (("pool", "log_prob"), ("pool", "modified_entropy"), ("population", "scaled_logit")):
        recorded = run.segments("mlp").signal(f"{part}/{name}", 1)
        for draw in range(3):
            np.testing.assert_array_equal(getattr(getattr(said, part), name)[:, draw], recorded)


@pytest.mark.slow
def test_much_noise_leaves_nothing_to_learn_and_leaves_no_model_out(rows):
    for attack in ("loss", "lira_online", "rmia_offline"):
        noisy = at(rows, SIGMAS[-1], attack)
        assert noisy["auc_low"] < 0.5 < noisy["auc_high"]
        assert noisy["targets"] == 12
    assert at(rows, 0.0, "loss")["auc_low"] > 0.6
    assert at(rows, 0.0, "loss")["auc"] > at(rows, 0.1, "loss")["auc"] > at(rows, SIGMAS[-1], "loss")["auc"]
    assert [row["models"] for row in rows["utility"]] == [12, 12, 12]
    assert rows["utility"][0]["train_accuracy"] > 0.9 > rows["utility"][2]["train_accuracy"]
    joint = [row["epsilon"] for row in rows["audits"] if row["method"] == "joint_runs"]
    assert joint[0] > joint[2] == 0.0
    assert {row["draws"] for row in rows["audits"]} == {1}


@pytest.mark.slow
def test_rows_are_the_means_of_attacks_on_every_draw_by_itself(world, rows):
    """Attacks that do not train, on what `evaluate` gives, put together by hand."""
    run, model, dataset = world
    shapes = jax.eval_shape(model.init, KEY, models.one_record(dataset))
    params, drawn = run.segments("mlp").parameters(1, shapes), run.membership()
    key = jax.random.fold_in(keys.roots(0).release, 0x72656C73)
    (said,) = evaluate(model, params, dataset, (0.1,), num_draws=3, key=key)
    member = drawn.member[:, :40]
    by_name = attacks.catalogue(CONFIG.attacks)
    for name in ("loss", "lira_online", "rmia_offline"):
        each = []
        for r in range(3):
            seen = Observations(
                member,
                exclude=membership.exclusions(drawn),
                log_prob=said.pool.log_prob[:, r, :40],
                scaled_logit=said.pool.scaled_logit[:, r, :40],
                population_log_prob=said.population.log_prob[:, r],
            )
            scores = by_name[name].score(seen)
            each.append(
                summary.attack_row(
                    summary.Setting("mlp", 1, 60), name, scores, member, drawn.twin, CONFIG.report
                )
            )
        found = at(rows, 0.1, name)
        assert found["draws"] == 3
        for column in (
            "auc",
            "auc_low",
            "auc_high",
            "balanced_accuracy",
            "target_auc",
            "tpr_at_fpr_0.1_high",
        ):
            assert found[column] == pytest.approx(np.mean([row[column] for row in each])), column
        assert len({row["auc"] for row in each}) == 3
        # 480 pooled non-members are too few for an FPR of .001.
        assert found["tpr_at_fpr_0.001"] is None
        assert found["records"] == 40
    accuracy = [said.test.correct[:, r].mean(axis=1).mean() for r in range(3)]
    assert rows["utility"][1]["test_accuracy"] == pytest.approx(np.mean(accuracy))
    expected = audit.audit_rows(said.pool.scaled_logit[:, 0, 40:], drawn.member[:, 40:], delta=1e-5)
    found = [row for row in rows["audits"] if row["sigma"] == 0.1]
    assert [row["epsilon"] for row in found] == [row["epsilon"] for row in expected]


def test_attacks_that_need_more_than_a_release_are_left_out_by_name(rows):
    assert rows["skipped"] == {"loss_trajectory": ["trajectory"]}
    assert {row["attack"] for row in rows["results"]} == {"loss", "lira_online", "rmia_offline"}


@pytest.mark.slow
def test_attacks_on_logits_and_on_features_are_given_them(world):
    """Without noise, by attacks that train: the scores of the run's own attack on what was recorded."""
    run, model, dataset = world
    names = ("shadow_classifier", "quantile_regression")
    learned = run.with_section("attacks", {"names": names})
    plain, noisy = (
        {
            row["attack"]: row
            for row in release_rows(learned, "mlp", model, dataset, (sigma,), 1, 1e-5)["results"]
        }
        for sigma in (0.0, 1e4)
    )
    usable, drawn = observing.usable_models(run, "mlp", 1), run.membership()
    for one in attacks.chosen(learned.config.attacks):
        seen = observing.observations(run, "mlp", 1, one.needs, valid=usable)
        args = (seen.member, drawn.twin, CONFIG.report)
        expected = summary.attack_row(summary.Setting("mlp", 1, 60), one.name, one.score(seen), *args)
        assert_same_row(plain[one.name], expected)
        assert noisy[one.name]["auc_low"] < 0.5 < noisy[one.name]["auc_high"]


@pytest.mark.slow
def test_a_model_that_is_not_finite_is_left_out_of_its_rows(world, tmp_path):
    """Parameters of which one model's are NaN, in a copy of the run."""
    run, model, dataset = world
    shutil.copytree(run.path, tmp_path / "copy")
    copy = run_directory.existing(tmp_path / "copy")
    shapes = jax.eval_shape(model.init, KEY, models.one_record(dataset))
    params = copy.segments("mlp").parameters(1, shapes)
    broken = jax.tree.map(
        lambda leaf: np.where(np.arange(12).reshape(-1, *[1] * (leaf.ndim - 1)) == 3, np.nan, leaf), params
    )
    loss_only = copy.with_section("attacks", {"names": ("loss",)})
    loss_only.segments("mlp").parameters = lambda checkpoint, like: broken
    found = release_rows(loss_only, "mlp", model, dataset, (0.1,), 1, 1e-5)
    assert found["utility"][0]["models"] == 11
    assert found["results"][0]["targets"] == 11
    assert {row["diverged"] for row in found["audits"]} == {1}


def test_parameters_come_back_as_they_were_trained(world):
    run, model, dataset = world
    shapes = jax.eval_shape(model.init, KEY, models.one_record(dataset))
    found = run.segments("mlp").parameters(1, shapes)
    roots = keys.roots(CONFIG.seed)
    segments = train_shadow_models(
        model, dataset, run.membership(), CONFIG.training, (30, 60), roots, sizes=Plan(6, 1)
    )
    final = [segment.state.params for segment in segments if segment.checkpoint == 1]
    same_bits(found, jax.tree.map(lambda *leaves: np.concatenate(leaves), *final))


def test_parameters_that_are_not_there_or_not_whole_are_refused(world, tmp_path):
    run, model, dataset = world
    shapes = jax.eval_shape(model.init, KEY, models.one_record(dataset))
    with pytest.raises(
        RunError, match=r'no parameters of family mlp at checkpoint 0.*recording.parameters="final"'
    ):
        run.segments("mlp").parameters(0, shapes)
    wider = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 2), leaf.dtype), shapes)
    with pytest.raises(RunError, match="are of another model"):
        run.segments("mlp").parameters(1, wider)
    shutil.copytree(run.path, tmp_path / "copy")
    entry = tmp_path / "copy/parameters/mlp/000000-000006/0001.npz"
    entry.write_bytes(entry.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"000000-000006/0001.npz is missing or damaged"):
        run_directory.existing(tmp_path / "copy").segments("mlp").parameters(1, shapes)


def test_other_data_is_refused(world):
    run, model, _ = world
    other = data.load(dataclasses.replace(CONFIG.data, seed=5), CONFIG.canaries)
    with pytest.raises(RunError, match="was trained on other data"):
        release_rows(run, "mlp", model, other, (0.1,), 1, 1e-5)
