"""ReNets against GRUs that sweep rows and columns one gate, one step and one line at a time, in NumPy, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import study
from mia_jax.config import (
    AttacksConfig,
    Config,
    ConfigError,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
)
from mia_jax.losses import cross_entropy
from mia_jax.metrics import auc
from mia_jax.models import build, build_families, cnn, count_parameters, one_record, renet
from mia_jax.privacy import bookkeeping
from mia_jax.types import Dataset, Records

CLASSES = 3
HEADS = {"flat": 0, "pooled": 0, "dense": 6}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def swept(params, line):
    """A GRU without biases over one line of places: [L, D] -> [L, H]."""
    W_r, W_z, W_n = np.split(params["input"], 3, axis=1)
    U_r, U_z, U_n = np.split(params["recurrent"], 3, axis=1)
    h, said = np.zeros(len(U_r)), []
    for x in line:
        r = sigmoid(W_r.T @ x + U_r.T @ h)
        z = sigmoid(W_z.T @ x + U_z.T @ h)
        n = np.tanh(W_n.T @ x + r * (U_n.T @ h))
        h = (1 - z) * n + z * h
        said.append(h)
    return np.stack(said)


def both_ways(params, line):
    """What the GRU from the start and the one from the end say of every place of a line."""
    return np.hstack([swept(params["there"], line), swept(params["back"], line[::-1])[::-1]])


def cut(x):
    """Patches of 2x2 places, pixel by pixel; an odd edge left out, a side of 3 or less not cut."""
    tall, wide = (2 if side >= 4 else 1 for side in x.shape[:2])
    out = np.empty((x.shape[0] // tall, x.shape[1] // wide, tall * wide * x.shape[2]))
    for i, j in np.ndindex(out.shape[:2]):
        out[i, j] = [
            value for a in range(tall) for b in range(wide) for value in x[i * tall + a, j * wide + b]
        ]
    return out


def by_hand(params, x, layers, head):
    """Every hidden layer of a record, flat, and its logits [C]."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    out, outputs = np.asarray(x, np.float64).reshape(*x.shape[:2], -1), []
    for layer in range(layers):
        rows, columns = params[f"recurrent_rows_{layer}"], params[f"recurrent_columns_{layer}"]
        out = np.stack([both_ways(rows, row) for row in cut(out)])
        out = np.stack([both_ways(columns, out[:, j]) for j in range(out.shape[1])], axis=1)
        outputs.append(out.reshape(-1))
    if head == "pooled":
        outputs[-1] = out.mean((0, 1))
    if head == "dense":
        dense = params["dense"]
        outputs.append(np.maximum(dense["kernel"].T @ outputs[-1] + dense["bias"], 0))
    return outputs, params["head"]["kernel"].T @ outputs[-1] + params["head"]["bias"]


def record(shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def images(shape, num_classes=CLASSES):
    records = Records(np.zeros((2, *shape), np.float32), np.zeros(2, np.int32))
    return Dataset(records, records, records, num_classes, 0, {})


@pytest.mark.parametrize(
    ("shape", "layers", "head"),
    [
        *(((8, 6, 2), 1, head) for head in HEADS),
        ((9, 8), 2, "pooled"),
        ((7, 5, 3), 1, "flat"),
        ((3, 5), 1, "dense"),
        ((1, 1), 2, "flat"),
    ],
)
def test_logits_and_every_layer_are_those_of_the_loops(random_params, shape, layers, head):
    options = {"head": head, "head_width": HEADS[head]}
    model, x = renet(num_classes=CLASSES, hidden=3, layers=layers, dropout=0.5, **options), record(shape)
    params = random_params(model, x)
    outputs, logits = by_hand(params, x, layers, head)
    functions = (model.apply, model.layers, model.embed)
    ours, said, embedding = jax.jit(lambda params: tuple(f(params, x) for f in functions))(params)
    np.testing.assert_allclose(ours, logits, rtol=1e-5, atol=1e-5)
    assert len(said) == layers + (head == "dense")
    for one, other in zip((*said, embedding), (*outputs, outputs[-1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_every_place_sees_the_whole_image_and_none_a_row_that_is_left_out(random_params):
    model, x = renet(num_classes=CLASSES, hidden=3), record((9, 8))
    params = random_params(model, x)
    # The rows are swept first, the columns then carry them to every place of the map [4, 4, 6].
    slopes = jax.jit(jax.jacfwd(lambda x: model.layers(params, x)[0]))(x).reshape(16, 6, 9, 8)
    reached = np.abs(slopes).max(1) > 0
    assert reached[:, :8].all()
    assert not reached[:, 8].any()


def test_the_artifact_of_the_paper_on_recurrent_privacy_has_as_many_parameters():
    # Yang, Gohari & Topcu 2023, arXiv:2110.03054: 16,384 -> 2,500 -> 10 after two layers of 128, 42.57 million.
    x = np.zeros((32, 32, 3), np.float32)
    model = renet(num_classes=10, hidden=128, layers=2, head="dense", head_width=2500)
    sweeps = [2 * 3 * 128 * (width + 128) for width in (4 * 3, 256, 4 * 256, 256)]
    dense = 16_384 * 2500 + 2500 + 2500 * 10 + 10
    assert count_parameters(model, x) == sum(sweeps) + dense == 42_569_590


@pytest.mark.parametrize(
    ("make", "head", "expected"),
    [
        (renet, "flat", 64 * 8 * 10 + 10),
        (renet, "pooled", 8 * 10 + 10),
        (renet, "dense", 64 * 8 * 6 + 6 + 6 * 10 + 10),
        (cnn, "flat", 16 * 8 * 10 + 10),
        (cnn, "pooled", 8 * 10 + 10),
        (cnn, "dense", 16 * 8 * 6 + 6 + 6 * 10 + 10),
    ],
)
def test_heads_of_both_kinds_have_the_sizes_they_say(make, head, expected):
    model = make(num_classes=10, hidden=4, head=head, head_width=HEADS[head])
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((16, 16, 3), np.float32))
    heads = [shapes[name] for name in ("dense", "head") if name in shapes]
    assert sum(leaf.size for leaf in jax.tree.leaves(heads)) == expected


@pytest.mark.parametrize("head", HEADS)
def test_the_cnn_reads_its_last_map_with_the_same_head(random_params, head):
    x = record((8, 8, 2))
    flat = cnn(num_classes=CLASSES, hidden=4)
    model = cnn(num_classes=CLASSES, hidden=4, head=head, head_width=HEADS[head])
    params = random_params(model, x)
    trunk = {**params, "head": {"kernel": np.zeros((32, CLASSES), np.float32), "bias": np.zeros(CLASSES)}}
    trunk.pop("dense", None)
    last = np.asarray(flat.layers(trunk, x)[-1], np.float64)
    seen = last.reshape(2, 2, 8).mean((0, 1)) if head == "pooled" else last
    if head == "dense":
        seen = np.maximum(params["dense"]["kernel"].T @ seen + params["dense"]["bias"], 0)
    logits = params["head"]["kernel"].T @ seen + params["head"]["bias"]
    np.testing.assert_allclose(model.apply(params, x), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.layers(params, x)[-1], model.embed(params, x))


@pytest.mark.parametrize(
    ("hidden", "layers", "head"),
    [
        (2, 1, "pooled"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((16, 1, "pooled"), (3, 2, "dense"), (16, 2, "flat"))
        ),
    ],
)
def test_norms_and_sums_from_taps_are_those_of_every_records_gradient(random_params, hidden, layers, head):
    model = renet(num_classes=CLASSES, hidden=hidden, layers=layers, head=head, head_width=HEADS[head])
    x, y = np.random.default_rng(2).normal(size=(4, 5, 6, 2)).astype(np.float32), np.arange(4) % CLASSES
    params = random_params(model, x[0])

    @jax.jit
    def both(params):
        written = bookkeeping.book(model, params, x, y, None, cross_entropy)
        gradient = jax.grad(lambda params, x, y: cross_entropy(model.apply(params, x), y))
        weights = jnp.asarray([0.5, 2.0, 1.0, 1.0])
        total = bookkeeping.weighted_sum(params, written, weights, jnp.arange(4) < 3)
        return (
            bookkeeping.squared_norms(params, written),
            total,
            jax.vmap(gradient, (None, 0, 0))(params, x, y),
        )

    squares, total, gradients = both(params)
    gradients = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradients)]
    norms = np.sqrt(sum((leaf**2).sum(tuple(range(1, leaf.ndim))) for leaf in gradients))
    np.testing.assert_allclose(np.sqrt(squares), norms, rtol=1e-5)
    for one, leaf in zip(jax.tree.leaves(total), gradients, strict=True):
        expected = np.tensordot([0.5, 2.0, 1.0], leaf[:3], 1)
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("first", "second"), [("cnn", "renet"), ("renet", "cnn")])
def test_a_renet_and_a_cnn_are_matched_with_equal_heads(first, second, head):
    options = {"layers": 2, "head": head, "head_width": 10 * HEADS[head]}
    families = {
        "first": FamilyConfig(kind=first, match="second", **options),
        "second": FamilyConfig(kind=second, hidden=95, **options),
    }
    dataset = images((16, 16, 3))
    sized, models = build_families(families, dataset)
    counts = {name: count_parameters(model, one_record(dataset)) for name, model in models.items()}
    assert abs(counts["first"] - counts["second"]) <= 0.01 * counts["second"]
    assert build(sized["first"], dataset) is models["first"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"kind": "mlp", "head": "pooled"},
            'has head "pooled".*only the kinds "cnn" and "renet" have a choice',
        ),
        ({"kind": "lstm", "head_width": 8}, "has head .flat. and head_width 8: only the kinds"),
        ({"kind": "renet", "head": "dense"}, 'has head "dense" and head_width 0: set head_width'),
        ({"kind": "cnn", "head_width": 8}, 'has head "flat" and head_width 8: only head "dense" has a width'),
        ({"kind": "renet", "head": "pooled", "head_width": 8}, 'only head "dense" has a width'),
        ({"kind": "renet", "head": "mean"}, "head is 'mean': it must be 'flat', 'pooled' or 'dense'"),
    ],
)
def test_heads_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        build(FamilyConfig(**fields), images((8, 8)))


@pytest.mark.slow
def test_a_study_trains_and_is_attacked(tmp_path):
    config = Config(
        data=DataConfig(pool_size=80, population_size=10, test_size=10),
        membership=MembershipConfig(num_models=4, train_size=40),
        families={"renet": FamilyConfig(kind="renet", hidden=6, head="pooled")},
        training=TrainingConfig(epochs=30, batch_size=8, learning_rate=0.01),
        recording=RecordingConfig(num_checkpoints=1),
        attacks=AttacksConfig(names=("loss",)),
    )
    run = study.train(config, tmp_path / "run")
    study.attack(run)
    assert auc(run.scores("renet", "loss", 0), run.membership().member) > 0.6
