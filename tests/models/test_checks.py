"""A model that cannot be trained as it stands is refused before anything is computed."""

import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.models import Model
from mia_jax.models.checks import check_model

X = np.zeros(4, np.float32)


def model_of(classes=3, params=None, shape=lambda logits: logits):
    def init(key, x):
        return {"w": jnp.zeros((x.size, classes)), **(params or {})}

    return Model(init, lambda params, x, *, key=None, train=False: shape(x @ params["w"]))


def test_a_model_with_a_logit_for_each_class_is_taken():
    check_model(model_of(), X, 3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            model_of(classes=2),
            r"apply gives an array of shape \(2,\) for one record: it must .* shape \(3,\)",
        ),
        (model_of(classes=4), r"shape \(4,\)"),
        (model_of(shape=lambda logits: logits[None]), r"shape \(1, 3\) .* without an axis for a batch"),
        (model_of(shape=lambda logits: logits.sum()), r"shape \(\) for one record"),
        (model_of(shape=lambda logits: (logits, logits)), "apply gives a tuple for one record"),
        (model_of(params={"step": jnp.zeros((), jnp.int32)}), r"params\['step'\] of dtype int32: every leaf"),
    ],
)
def test_what_a_model_gives_instead_is_named(model, words):
    with pytest.raises(ValueError, match=words):
        check_model(model, X, 3)


def test_nothing_is_trained_with_such_a_model():
    from mia_jax import data, keys, membership
    from mia_jax.config import DataConfig, MembershipConfig, TrainingConfig
    from mia_jax.training import train_shadow_models

    dataset = data.load(DataConfig(source="synthetic:gaussian,classes=3,features=4", pool_size=20))
    drawn = membership.draw(keys.roots(0).membership, MembershipConfig(num_models=4, train_size=10), 20)
    training = TrainingConfig(epochs=2, batch_size=5)
    with pytest.raises(ValueError, match=r"apply gives an array of shape \(2,\)"):
        next(train_shadow_models(model_of(classes=2), dataset, drawn, training, (2,), keys.roots(0)))
    with pytest.raises(ValueError, match=r"epochs is \(1, 3\): .* at most training.epochs, 2"):
        next(train_shadow_models(model_of(), dataset, drawn, training, (1, 3), keys.roots(0)))
