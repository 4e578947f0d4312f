"""DP-SGD as it happens in training: what is clipped, what noise is added, and what a step depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.defences import batches_of, dp_sgd
from mia_jax.membership import padded_indices
from mia_jax.models import Model, mlp
from mia_jax.parallel import model_mesh
from mia_jax.training import Plan, hyper_of, train_shadow_models
from mia_jax.training.segment import drawn_batch, epoch_order
from mia_jax.training.shadow import all_models, recipe_of
from mia_jax.types import Dataset, Membership, Records

RATE, CLIP, NOISE = 0.5, 0.4, 1.3
ROOTS = keys.roots(2)


def _init(key, x):
    return {"w": 0.1 * jax.random.normal(key, (x.size, 3)), "b": jnp.zeros(3)}


LINEAR = Model(_init, lambda params, x, *, key=None, train=False: x @ params["w"] + params["b"])
SILENT = Model(
    lambda key, x: {"a": jnp.zeros((40, 50)), "b": jnp.zeros(700)},
    lambda params, x, *, key=None, train=False: jnp.zeros(3),
)


def world(models=4, size=20, train_size=10, spoil=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 4)).astype(np.float32)
    if spoil is not None:
        x[spoil] = np.nan
    pool = Records(x, rng.integers(0, 3, size).astype(np.int32))
    member = np.stack([np.isin(np.arange(size), rng.permutation(size)[:train_size]) for _ in range(models)])
    drawn = Membership(member, *padded_indices(member, train_size), np.full(models, -1))
    return Dataset(pool, pool, pool, 3, 0, {}), drawn


def defence_of(sampling, train_size=10, batch=4, steps=9, most=5):
    batches = batches_of(sampling, num_examples=train_size, batch_size=batch, steps=steps, max_batch=most)
    return dp_sgd(batches)


def history(model, data, drawn, defence, strengths, epochs=3, batch=4, **options):
    """The parameters after every epoch, [T] pytrees [K, …]."""
    config = TrainingConfig(epochs=epochs, batch_size=batch, optimizer="sgd", learning_rate=RATE)
    segments = train_shadow_models(
        model,
        data,
        drawn,
        config,
        tuple(range(epochs + 1)),
        ROOTS,
        hyper=hyper_of(config, len(drawn.member), strengths),
        defence=defence,
        sizes=Plan(len(drawn.member), 1),
        **options,
    )
    return [segment.state.params for segment in segments]


def clipped_sum(params, x, y):
    """The sum of clipped gradients of a linear model, record by record in float64."""
    total = {"w": np.zeros((4, 3)), "b": np.zeros(3)}
    for record, label in zip(np.asarray(x, np.float64), y, strict=True):
        logits = record @ params["w"] + params["b"]
        share = np.exp(logits - logits.max())
        slope = share / share.sum() - np.eye(3)[label]
        gradient = {"w": np.outer(record, slope), "b": slope}
        norm = np.sqrt(sum((leaf**2).sum() for leaf in gradient.values()))
        for name, leaf in gradient.items():
            total[name] += leaf * min(1.0, CLIP / norm)
    return total


@pytest.mark.parametrize("sampling", ["shuffle", "poisson", "truncated_poisson"])
def test_without_noise_a_training_is_the_loop_over_clipped_records(sampling):
    data, drawn = world()
    defence = defence_of(sampling)
    found = history(LINEAR, data, drawn, defence, {"clip_norm": CLIP, "noise_multiplier": 0.0})
    config = TrainingConfig(epochs=3, batch_size=4, optimizer="sgd", learning_rate=RATE)
    recipe = recipe_of(LINEAR, drawn, config, defence)
    ones = all_models(ROOTS, drawn, hyper_of(config, 4, {}))
    for k in (0, 3):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], ones)
        params = {name: np.asarray(leaf[k], np.float64) for name, leaf in found[0].items()}
        for epoch in range(3):
            for step in range(3):
                if sampling == "shuffle":
                    positions, valid = (part[step] for part in epoch_order(recipe, one, epoch))
                else:
                    positions, valid = drawn_batch(recipe, one, 3 * epoch + step)
                rows = drawn.indices[k][np.asarray(positions)[np.asarray(valid)]]
                gradient = clipped_sum(params, data.pool.x[rows], data.pool.y[rows])
                # Divided by the public expected size, whatever the batch holds.
                params = {name: params[name] - RATE * gradient[name] / 4 for name in params}
            for name, values in params.items():
                np.testing.assert_allclose(found[epoch + 1][name][k], values, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def noise_alone():
    """What 3 epochs of 3 steps move parameters that no record has a gradient for: [K, T, M], standardised."""
    data, drawn = world()
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    found = history(SILENT, data, drawn, defence_of("poisson"), strengths)
    flat = np.stack([np.concatenate([p["a"].reshape(4, -1), p["b"]], axis=1) for p in found], axis=1)
    return np.diff(flat, axis=1) / (RATE * CLIP * NOISE / 4 * np.sqrt(3))


def test_noise_has_the_deviation_that_is_accounted_for(noise_alone):
    assert stats.kstest(noise_alone.ravel(), "norm").pvalue > 1e-3
    assert abs(noise_alone.std() - 1) < 4 / np.sqrt(2 * noise_alone.size)


def test_noise_is_independent_across_models_steps_and_leaves(noise_alone):
    # The same noise in two places would show as a correlation of 1; of independent noise it is small.
    rows = noise_alone.reshape(12, -1)
    between = np.corrcoef(rows)[np.triu_indices(12, 1)]
    assert np.abs(between).max() < 5 / np.sqrt(rows.shape[1])
    of_leaves = [np.corrcoef(row[:700], row[2000:])[0, 1] for row in rows]
    assert np.abs(of_leaves).max() < 5 / np.sqrt(700)


def test_an_empty_batch_is_a_step_of_noise():
    data, drawn = world()
    empty = drawn._replace(mask=np.zeros_like(drawn.mask))
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    for sampling in ("shuffle", "poisson"):
        found = history(LINEAR, data, empty, defence_of(sampling), strengths, epochs=1)
        assert (found[0]["w"] != found[1]["w"]).all()


@pytest.mark.parametrize("sampling", ["shuffle", "poisson"])
def test_what_stands_in_an_empty_place_moves_nothing(sampling, assert_same_bits):
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    (data, drawn), (spoiled, _) = world(), world(spoil=7)
    mask = drawn.mask & (drawn.indices != 7)
    gaps = drawn._replace(mask=mask)
    assert not mask.all()
    one, other = (history(LINEAR, d, gaps, defence_of(sampling), strengths) for d in (data, spoiled))
    assert_same_bits(one, other)


@pytest.mark.parametrize("sampling", ["shuffle", "poisson"])
def test_a_record_without_a_finite_gradient_is_as_if_it_were_absent(sampling):
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    (data, drawn), (spoiled, _) = world(), world(spoil=7)
    gaps = drawn._replace(mask=drawn.mask & (drawn.indices != 7))
    absent = history(LINEAR, data, gaps, defence_of(sampling), strengths)
    infinite = history(LINEAR, spoiled, drawn, defence_of(sampling), strengths)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), absent, infinite)


def test_one_record_moves_a_step_by_no_more_than_the_sensitivity():
    data, drawn = world()
    strengths = {"clip_norm": CLIP, "noise_multiplier": 0.0}
    gaps = drawn._replace(mask=drawn.mask & (np.arange(10) != 3))
    one, other = (
        history(LINEAR, data, d, defence_of("shuffle", batch=10, steps=1), strengths, epochs=1, batch=10)
        for d in (drawn, gaps)
    )
    for k in range(4):
        moved = np.sqrt(
            sum(
                np.sum((a[k] - b[k]) ** 2.0)
                for a, b in zip(*(p[1].values() for p in (one, other)), strict=True)
            )
        )
        assert 0 < moved <= RATE * CLIP / 10 * (1 + 1e-5)


def test_last_seen_is_the_last_step_that_drew_a_record():
    data, drawn = world()
    defence = defence_of("poisson")
    config = TrainingConfig(epochs=3, batch_size=4)
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    (segment,) = train_shadow_models(
        LINEAR,
        data,
        drawn,
        config,
        (3,),
        ROOTS,
        hyper=hyper_of(config, 4, strengths),
        defence=defence,
        sizes=Plan(4, 1),
    )
    recipe = recipe_of(LINEAR, drawn, config, defence)
    ones = all_models(ROOTS, drawn, hyper_of(config, 4, {}))
    expected = np.full((4, 20), -1)
    for k in range(4):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], ones)
        for step in range(9):
            positions, valid = drawn_batch(recipe, one, step)
            expected[k, drawn.indices[k][np.asarray(positions)[np.asarray(valid)]]] = step
    np.testing.assert_array_equal(segment.observed.last_seen, expected)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["shuffle", "poisson"])
def test_the_number_of_devices_changes_no_bit(sampling, assert_same_bits):
    # In one pass, as our own models are clipped. The linear model above, clipped by its own gradients, differs
    # in the last bit between one device and two when shuffled: XLA compiles its gradient otherwise.
    model = mlp(num_classes=3, hidden=5)
    data, drawn = world()
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    one, two = (
        history(model, data, drawn, defence_of(sampling), strengths, mesh=model_mesh(jax.devices()[:count]))
        for count in (1, 2)
    )
    assert_same_bits(one, two)


@pytest.mark.parametrize("microbatch", [1, 3])
def test_blocks_change_a_training_by_rounding_alone(microbatch):
    data, drawn = world()
    strengths = {"clip_norm": CLIP, "noise_multiplier": NOISE}
    whole = dp_sgd(batches_of("poisson", num_examples=10, batch_size=4, steps=9), microbatch=10)
    blocks = dp_sgd(batches_of("poisson", num_examples=10, batch_size=4, steps=9), microbatch=microbatch)
    one, other = (history(LINEAR, data, drawn, defence, strengths) for defence in (whole, blocks))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)


def test_batches_of_another_training_are_refused():
    data, drawn = world()
    with pytest.raises(ValueError, match=r"batches are 4 of 12 records: the training has batches of 4 of 10"):
        history(LINEAR, data, drawn, defence_of("poisson", train_size=12), {})


@pytest.mark.parametrize(
    ("sampling", "changes", "words"),
    [
        (
            "sometimes",
            {},
            "sampling is 'sometimes': it must be one of 'poisson', 'truncated_poisson', 'shuffle'",
        ),
        ("poisson", {"batch_size": 99}, "batch_size is 99: it must be at most num_examples, 10"),
        ("shuffle", {"batch_size": 99}, "batch_size is 99: it must be at most num_examples, 10"),
        ("poisson", {"batch_size": 0}, "batch_size is 0: it must be at least 1"),
        ("poisson", {"num_examples": 0}, "num_examples is 0: it must be at least 1"),
        ("truncated_poisson", {}, "max_batch is None and sampling 'truncated_poisson'"),
    ],
)
def test_batches_that_cannot_be_are_refused(sampling, changes, words):
    with pytest.raises(ValueError, match=words):
        batches_of(sampling, **({"num_examples": 10, "batch_size": 4, "steps": 9} | changes))


def test_options_that_are_not_there_are_refused():
    batches = batches_of("poisson", num_examples=10, batch_size=4, steps=9)
    with pytest.raises(ValueError, match="method is 'x': it must be one of 'auto', 'vmap', 'bookkeeping'"):
        dp_sgd(batches, method="x")
    with pytest.raises(ValueError, match="microbatch is -3: it must be at least 0"):
        dp_sgd(batches, microbatch=-3)
    with pytest.raises(ValueError, match=r"batches is None: it must be what defences\.batches_of makes"):
        dp_sgd(None)
