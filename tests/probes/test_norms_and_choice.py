"""Signals that need the model: closed forms, other ways to compute them, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import signals
from mia_jax.config import Config, ConfigError, FamilyConfig, RecordingConfig
from mia_jax.models import Model, build, mlp, recurrent
from mia_jax.probes import chosen, embedding_norm, gradient_norm, of_families, query_signals
from mia_jax.probes.queries import versions
from mia_jax.training import cross_entropy
from mia_jax.types import Dataset, Ragged, Records

CLASSES, FEATURES = 3, 6
ALL = ("gradient_norm", "adversarial_distance", "embedding_norm", "step_logits")


def softmax_regression(params, x, *, key=None, train=False):
    return x @ params["w"] + params["b"]


def batch(size=10, seed=1, scale=1.0):
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(size, FEATURES))).astype(np.float32)
    return Records(x, rng.integers(0, CLASSES, size).astype(np.int32))


def random_params(model, record, seed=2):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), record)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.6).astype(leaf.dtype), shapes)


def over(records, function, *args):
    return np.asarray(jax.jit(jax.vmap(lambda record: function(*args, record)))(records))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_gradient_norm_of_softmax_regression_is_the_closed_form(scale):
    """||p - onehot|| sqrt(||x||^2 + 1), and still so where float32 rounds p_y to 1."""
    model = Model(lambda key, x: None, softmax_regression)
    rng = np.random.default_rng(3)
    params = {"w": rng.normal(size=(FEATURES, CLASSES)), "b": rng.normal(size=CLASSES)}
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    records = batch(200, scale=scale)
    x = records.x.astype(np.float64)
    z = x @ params["w"].astype(np.float64) + params["b"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    label = np.arange(CLASSES) == records.y[:, None]
    at_label = np.where(label, 0.0, p).sum(axis=1)  # 1 - p_y, without the cancellation
    residual = np.sqrt(at_label**2 + np.where(label, 0.0, p**2).sum(axis=1))
    expected = residual * np.sqrt((x**2).sum(axis=1) + 1)
    # float32 has nothing below 1e-37; a margin m is known to m * 1e-7, and so is the norm's logarithm.
    np.testing.assert_allclose(over(records, gradient_norm, model, params), expected, rtol=5e-4, atol=1e-36)
    if scale == 30.0:
        assert (at_label < 1e-8).any()


@pytest.mark.parametrize("kind", ["mlp", "lstm", "gru_ragged"])
def test_gradient_norm_is_that_of_the_gradient_of_the_loss(kind):
    records = batch()
    if kind == "mlp":
        model = mlp(num_classes=CLASSES, hidden=5, layers=2, dropout=0.5)
    else:
        model = recurrent(
            kind[:4].rstrip("_"), num_classes=CLASSES, hidden=4, steps=0 if "ragged" in kind else 3
        )
    if "ragged" in kind:
        steps = Ragged(records.x.reshape(-1, 3, 2), np.arange(10, dtype=np.int32) % 3 + 1)
        records = records._replace(x=steps)
    params = random_params(model, jax.tree.map(lambda leaf: leaf[0], records.x))

    def by_gradient(record):
        slope = jax.grad(lambda p: cross_entropy(model.apply(p, record.x), record.y))(params)
        return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(slope)))

    expected = over(records, by_gradient)
    found = over(records, gradient_norm, model, params)
    assert found.shape == (10,)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gradient_norm_is_zero_without_a_gradient_and_finite_when_surely_right():
    records = batch()
    indifferent = Model(lambda key, x: None, lambda params, x: 0.0 * (x @ params))
    np.testing.assert_array_equal(
        over(records, gradient_norm, indifferent, np.zeros((FEATURES, CLASSES), np.float32)) >= 0, True
    )
    constant = Model(lambda key, x: None, lambda params, x: jnp.ones(CLASSES))
    np.testing.assert_array_equal(over(records, gradient_norm, constant, np.ones(4, np.float32)), 0.0)
    certain = Model(lambda key, x: None, lambda params, x: params * 1e4 * jnp.asarray([1.0, 0.0, 0.0]))
    found = over(records, gradient_norm, certain, np.float32(1.0))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[records.y == 0], 0.0)
    np.testing.assert_allclose(found[records.y != 0], 1e4, rtol=1e-5)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 200.0, np.inf])
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_embedding_norm_is_numpys(kind, p):
    model = (
        mlp(num_classes=CLASSES, hidden=5)
        if kind == "mlp"
        else recurrent("lstm", num_classes=CLASSES, hidden=5, steps=3)
    )
    records = batch(scale=20.0)
    params = random_params(model, records.x[0])
    embeddings = np.asarray(jax.vmap(lambda x: model.embed(params, x))(records.x), np.float64)
    found = over(records, functools.partial(embedding_norm, model, params, p=p))
    scale = np.abs(embeddings).max(axis=1)
    expected = np.linalg.norm(embeddings / np.where(scale > 0, scale, 1)[:, None], ord=p, axis=1) * scale
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_embedding_norm_of_nothing_is_zero_and_needs_an_embedding():
    model = Model(lambda key, x: None, softmax_regression, lambda params, x: 0.0 * x)
    np.testing.assert_array_equal(over(batch(), functools.partial(embedding_norm, model, None, p=2.0)), 0.0)
    with pytest.raises(ValueError, match=r"model\.embed is None"):
        embedding_norm(model._replace(embed=None), None, batch(), p=2.0)


@pytest.mark.slow
def test_query_signals_are_those_of_every_version():
    model = recurrent("rnn", num_classes=CLASSES, hidden=4)
    records = batch()._replace(x=batch().x.reshape(-1, 3, 2))
    params, keys = random_params(model, records.x[0]), jax.random.split(jax.random.key(6), 10)
    asked = {"queries": ("flip", "shift", "noise"), "noise": 0.2}
    found = jax.vmap(lambda record, key: query_signals(model, params, record, key, **asked))(records, keys)
    for n in range(10):
        for q, x in enumerate(versions(records.x[n], asked["queries"], keys[n], noise=0.2)):
            said = signals.from_logits(model.apply(params, x), records.y[n])
            np.testing.assert_allclose(found["query_log_prob"][n, q], said.log_prob, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(
                found["query_scaled_logit"][n, q], said.scaled_logit, rtol=1e-4, atol=1e-5
            )


def dataset_of(x, vocabulary_size=0):
    part = Records(x, np.zeros(len(jax.tree.leaves(x)[0]), np.int32))
    return Dataset(part, part, part, CLASSES, vocabulary_size, {})


IMAGES = dataset_of(np.zeros((5, 4, 4), np.float32))
TOKENS = dataset_of(np.zeros((5, 4), np.int32), vocabulary_size=9)
RAGGED_TOKENS = dataset_of(Ragged(np.zeros((5, 4), np.int32), np.ones(5, np.int32)), vocabulary_size=9)


def names_of(probes, model, dataset, record=None):
    one = Records(*jax.tree.map(lambda leaf: leaf[0], (dataset.pool.x, dataset.pool.y)))
    params = model.init(jax.random.key(0), one.x)
    key = jax.random.key(1)
    return {name: value.shape for probe in probes for name, value in probe.measure(params, one, key).items()}


@pytest.mark.slow
def test_what_is_chosen_is_what_is_recorded():
    config = RecordingConfig(signals=ALL, queries=("flip", "noise"))
    expected = dict.fromkeys(ALL[:3], ()) | {"query_log_prob": (3,), "query_scaled_logit": (3,)}
    for kind, steps in (("mlp", {}), ("lstm", {"step_logits": (4, CLASSES)})):
        model = build(FamilyConfig(kind=kind, hidden=3), IMAGES)
        assert names_of(chosen(config, kind, model, IMAGES), model, IMAGES) == expected | steps
    model = build(FamilyConfig(kind="lstm", hidden=3), IMAGES)
    kept = [one for one in chosen(config, "lstm", model, IMAGES) if one.with_logits]
    assert names_of(kept, model, IMAGES) == {"step_logits": (4, CLASSES)}
    assert chosen(RecordingConfig(), "lstm", model, IMAGES) == ()


@pytest.mark.parametrize("dataset", [TOKENS, RAGGED_TOKENS], ids=["tokens", "ragged_tokens"])
def test_token_ids_have_no_distance_and_no_queries(dataset):
    model = build(FamilyConfig(kind="gru", hidden=3), dataset)
    with pytest.raises(ConfigError, match=r"config\.recording\.signals is .*adversarial_distance.*token ids"):
        chosen(RecordingConfig(signals=("adversarial_distance",)), "gru", model, dataset)
    for query in ("flip", "shift", "noise"):
        with pytest.raises(ConfigError, match=rf"config\.recording\.queries is .*{query}.*token ids"):
            chosen(RecordingConfig(queries=(query,)), "gru", model, dataset)
    others = RecordingConfig(signals=("gradient_norm", "embedding_norm", "step_logits"))
    assert len(names_of(chosen(others, "gru", model, dataset), model, dataset)) == 3


def test_a_family_without_embedding_is_named():
    model = build(FamilyConfig(kind="mlp", hidden=3), IMAGES)._replace(embed=None)
    with pytest.raises(ConfigError, match=r"embedding_norm.*family mine has no `embed`"):
        chosen(RecordingConfig(signals=("embedding_norm",)), "mine", model, IMAGES)


def test_step_logits_need_logits_and_a_family_that_has_them():
    built = {kind: build(FamilyConfig(kind=kind, hidden=3), IMAGES) for kind in ("mlp", "lstm")}
    wanted = Config(recording=RecordingConfig(signals=("step_logits",)))
    made = of_families(wanted, built, IMAGES)
    assert {name: len(probes) for name, probes in made.items()} == {"mlp": 0, "lstm": 1}
    with pytest.raises(ConfigError, match=r"step_logits.*config\.recording\.logits is \"none\""):
        of_families(Config(recording=RecordingConfig(signals=("step_logits",), logits="none")), built, IMAGES)
    with pytest.raises(ConfigError, match=r"step_logits.*no family reads a sequence step by step"):
        of_families(wanted, {"mlp": built["mlp"]}, IMAGES)


def test_large_models_and_records_are_measured_a_few_at_a_time():
    config = RecordingConfig(signals=("gradient_norm", "adversarial_distance"))
    wide = dataset_of(np.zeros((2, 1000), np.float32))
    for hidden, dataset, expected in ((3, IMAGES, [256, 256]), (1000, wide, [1, 256])):
        model = build(FamilyConfig(kind="mlp", hidden=hidden), dataset)
        probes = chosen(config, "mlp", model, dataset)
        assert [one.records_at_once for one in probes] == expected
    larger = wide._replace(num_classes=200)
    model = build(FamilyConfig(kind="mlp", hidden=2), larger)
    assert [one.records_at_once for one in chosen(config, "mlp", model, larger)] == [256, 5]
