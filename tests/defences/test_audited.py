"""Theory against trained models: no audit proves more than is promised, and what is broken is caught."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.audit import joint_runs, many_runs, one_run
from mia_jax.config import TrainingConfig
from mia_jax.defences import Defence, PrivateGradient, batches_of, dp_sgd
from mia_jax.membership import padded_indices
from mia_jax.models import Model
from mia_jax.privacy import epsilon, noise_multiplier
from mia_jax.privacy.noise import gaussian_noise
from mia_jax.training import Plan, hyper_of, train_shadow_models
from mia_jax.types import Dataset, Membership, Records

MODELS, CANARIES, OTHERS, FEATURES, DELTA = 96, 24, 16, 40, 1e-5


class Setting(NamedTuple):
    """One way to train with a promise."""

    target: float
    sampling: str = "poisson"
    epochs: int = 8
    batch: int = 8
    learning_rate: float = 0.5
    optimizer: str = "sgd"
    clip_norm: float = 1.0


SETTINGS = [
    Setting(0.5),
    Setting(1.0, sampling="shuffle"),
    Setting(2.0, batch=20, epochs=20),
    Setting(4.0, optimizer="adam", learning_rate=0.05),
    Setting(8.0, sampling="shuffle", optimizer="momentum", batch=40, epochs=10),
    Setting(2.0, sampling="truncated_poisson", clip_norm=0.1, learning_rate=5.0),
]

LINEAR = Model(
    lambda key, x: {"w": jnp.zeros((x.size, 2)), "b": jnp.zeros(2)},
    lambda params, x, *, key=None, train=False: x @ params["w"] + params["b"],
)


def world():
    """Canaries that each have a direction of their own, among ordinary records; fair coins, model by model."""
    rng = np.random.default_rng(0)
    x = 0.3 * rng.normal(size=(OTHERS + CANARIES, FEATURES))
    x[OTHERS:] = 0.0
    x[OTHERS + np.arange(CANARIES), np.arange(CANARIES)] = 30.0
    pool = Records(x.astype(np.float32), rng.integers(0, 2, len(x)).astype(np.int32))
    member = rng.random((MODELS, len(x))) < 0.5
    member[:, :OTHERS] = True
    # The list has a place for everybody, present or not: its length is no secret.
    drawn = Membership(member, *padded_indices(member, len(x)), np.full(MODELS, -1))
    return Dataset(pool, pool, pool, 2, 0, {}, CANARIES), drawn


def unclipped(batches, clip_norm):
    """DP-SGD whose author forgot to clip: the noise is that of the promise, the gradients are what they are."""

    def gradient(model, loss, params, batch, key, strengths):
        def total(params):
            logits = jax.vmap(lambda x: model.apply(params, x))(batch.x)
            return jnp.sum(jnp.where(batch.valid, jax.vmap(loss)(logits, batch.y), 0.0))

        raw = jax.grad(total)(params)
        noise = gaussian_noise(key, raw, clip_norm * strengths["noise_multiplier"])
        return jax.tree.map(lambda one, other: (one + other) / batches.expected, raw, noise)

    return Defence(("unclipped",), gradient=PrivateGradient(batches, gradient))


def audited(setting, broken=False):
    """The promised epsilon, and what each audit proves."""
    dataset, drawn = world()
    places = drawn.indices.shape[1]
    training = TrainingConfig(
        epochs=setting.epochs,
        batch_size=setting.batch,
        optimizer=setting.optimizer,
        learning_rate=setting.learning_rate,
    )
    steps = -(-places // setting.batch) * setting.epochs
    cut = 2 * setting.batch if setting.sampling == "truncated_poisson" else None
    promise = {
        "num_examples": places,
        "batch_size": setting.batch,
        "steps": steps,
        "delta": DELTA,
        "sampling": setting.sampling,
        "max_batch": cut,
    }
    sigma = noise_multiplier(target_epsilon=setting.target, **promise)
    batches = batches_of(
        setting.sampling, num_examples=places, batch_size=setting.batch, steps=steps, max_batch=cut or 0
    )
    defence = unclipped(batches, setting.clip_norm) if broken else dp_sgd(batches)
    (segment,) = train_shadow_models(
        LINEAR,
        dataset,
        drawn,
        training,
        (setting.epochs,),
        keys.roots(5),
        hyper=hyper_of(training, MODELS, {"clip_norm": setting.clip_norm, "noise_multiplier": sigma}),
        defence=defence,
        sizes=Plan(MODELS, 8),
    )
    logit = np.asarray(segment.observed.pool.scaled_logit)[:, OTHERS:]
    member = np.asarray(drawn.member)[:, OTHERS:]
    rules = {"delta": DELTA, "confidence": 0.95}
    found = {
        "joint": joint_runs(logit, member, **rules),
        "one": one_run(logit, member, **rules)["first"],
        "many": many_runs(logit, member, **rules),
    }
    return epsilon(noise_multiplier=sigma, **promise), found


@pytest.mark.parametrize(
    "setting", [SETTINGS[0], *(pytest.param(s, marks=pytest.mark.slow) for s in SETTINGS[1:])]
)
def test_no_audit_proves_more_than_is_promised(setting):
    promised, found = audited(setting)
    assert promised <= setting.target
    for bound in found.values():
        assert bound.epsilon <= promised
    # The audit could have: it is not too weak to object.
    assert found["joint"].ceiling > min(promised, 4.0)


@pytest.mark.slow
def test_a_mechanism_that_does_not_clip_is_caught():
    promised, found = audited(SETTINGS[0], broken=True)
    assert found["joint"].epsilon > promised
