"""What probes measure is recorded as it is, changes nothing else, and survives chunks and interruptions."""

import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys, study
from mia_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
)
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.probes import chosen
from mia_jax.runs.run_directory import existing
from mia_jax.training import Plan, Probe, hyper_of
from mia_jax.training.observe import probe, record_keys
from mia_jax.training.shadow import all_models, compile_programs, recipe_of
from mia_jax.types import Records

EPOCHS = (1, 2, 4)
RECORDING = RecordingConfig(
    signals=("gradient_norm", "adversarial_distance", "embedding_norm", "step_logits"),
    queries=("noise", "flip"),
    distance_steps=3,
)


def embed(params, x):
    return jnp.tanh(x @ params["in"] + params["bias"])


def steps(params, x):
    return jnp.stack([embed(params, x) @ params["out"] * part for part in (0.5, 1.0)])


@pytest.fixture(scope="module")
def model(tiny_dropout):
    """The tiny model with dropout, laid open."""
    return tiny_dropout._replace(embed=embed, steps=steps)


@pytest.fixture(scope="module")
def probes(model, dataset):
    """All probes, each in blocks that do not divide the pool."""
    made = chosen(RECORDING, "tiny", model, dataset)
    return [one._replace(records_at_once=7) for one in made]


@pytest.fixture(scope="module")
def recorded(train, model, five, adam, probes):
    """`whole`, with everything recorded and logits kept after epoch 2."""
    return train(model, five, adam, EPOCHS, logits_at=(2,), probes=probes)


def test_recorded_arrays_are_what_the_probes_say_of_the_parameters(recorded, probes, dataset):
    own_keys = record_keys(keys.roots(3).attack, 20)
    records = Records(*map(jnp.asarray, dataset.pool))
    for number, (observed, state) in enumerate(recorded.checkpoints):
        params = jax.tree.map(jnp.asarray, state.params)
        expected = {}
        for one in probes:
            if number == 1 or not one.with_logits:
                each = jax.vmap(one.measure, in_axes=(None, 0, 0))
                expected |= jax.jit(jax.vmap(each, in_axes=(0, None, None)))(params, records, own_keys)
        assert observed.probed.keys() == expected.keys()
        for name, values in expected.items():
            assert observed.probed[name].dtype == np.float32
            close = np.isclose(observed.probed[name], values, rtol=2e-4, atol=1e-5)
            # A search that goes this way or that by rounding may end elsewhere.
            assert close.mean() >= (0.95 if name == "adversarial_distance" else 1), f"{name} at {number}"


def test_shapes_and_the_checkpoints_of_step_logits(recorded):
    shapes = {name: values.shape for name, values in recorded.checkpoints[1][0].probed.items()}
    scalars = dict.fromkeys(("gradient_norm", "adversarial_distance", "embedding_norm"), (5, 20))
    queries = dict.fromkeys(("query_log_prob", "query_scaled_logit"), (5, 20, 3))
    assert shapes == {**scalars, **queries, "step_logits": (5, 20, 2, 3)}
    for checkpoint in (0, 2):
        assert recorded.checkpoints[checkpoint][0].probed.keys() == shapes.keys() - {"step_logits"}


def test_the_first_query_is_the_record_and_the_last_step_is_the_end(recorded):
    observed = recorded.checkpoints[1][0]
    for name in ("log_prob", "scaled_logit"):
        said = observed.probed[f"query_{name}"][..., 0]
        np.testing.assert_allclose(said, getattr(observed.pool, name), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        observed.probed["step_logits"][:, :, -1], observed.logits["pool"], rtol=1e-4, atol=1e-5
    )
    wrong = observed.pool.correct == 0
    np.testing.assert_array_equal(observed.probed["adversarial_distance"][wrong], 0.0)


def test_probes_change_neither_training_nor_signals(recorded, whole, assert_same_bits):
    for (said, state), (plain, plain_state) in zip(recorded.checkpoints, whole.checkpoints, strict=True):
        assert_same_bits(state, plain_state)
        assert plain.probed == {}
        for one, other in zip(jax.tree.leaves(said.pool), jax.tree.leaves(plain.pool), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_noise_is_the_same_for_all_models_and_another_for_each_record(train, five, adam):
    def tell(params, record, key):
        return {"noise": jax.random.normal(key, (4,)), "number": jax.random.uniform(key)}

    model = Model(lambda key, x: jnp.zeros((4, 3)), lambda params, x, **_: x @ params)
    said = train(model, five, adam, (1,), probes=[Probe(tell)]).observed.probed
    np.testing.assert_array_equal(said["noise"], np.tile(said["noise"][:1], (5, 1, 1)))
    assert len(np.unique(said["number"][0])) == 20
    assert abs(np.corrcoef(said["noise"][0, 1:].ravel(), said["noise"][0, :-1].ravel())[0, 1]) < 0.3


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"devices": 1, "sizes": Plan(3, 1)}, marks=pytest.mark.slow),
        pytest.param({"devices": 2, "sizes": Plan(2, 1)}, marks=pytest.mark.slow),
        {"chunks": [(0, 2), (2, 5)]},
    ],
    ids=["one_device", "other_chunks", "listed_chunks"],
)
def test_devices_and_chunks_change_no_bit_of_what_is_recorded(
    train, model, five, adam, probes, recorded, assert_same_bits, options
):
    other = train(model, five, adam, EPOCHS, logits_at=(2,), probes=probes, **options)
    assert_same_bits(other.checkpoints, recorded.checkpoints)


@pytest.mark.parametrize("done", range(len(EPOCHS) - 1))
def test_resumed_is_uninterrupted(train, model, five, adam, probes, recorded, assert_same_bits, done):
    leaves = jax.tree.leaves(recorded.segments[done].state)
    rest = train(
        model, five, adam, EPOCHS, logits_at=(2,), probes=probes, resume=lambda start, stop: (done, leaves)
    )
    assert_same_bits(rest.checkpoints, recorded.checkpoints[done + 1 :])


@pytest.mark.parametrize("at_once", [1, 6, 20, 256])
def test_blocks_of_any_size_cover_every_record_once(dataset, at_once):
    def measure(params, record, key):
        return {"sum": params * jnp.sum(record.x), "pair": jnp.stack([record.x[0], record.x[1]])}

    records = Records(*map(jnp.asarray, dataset.pool))
    said = probe([Probe(measure, records_at_once=at_once)], 2.0, records, record_keys(jax.random.key(0), 20))
    np.testing.assert_allclose(said["sum"], 2 * dataset.pool.x.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(said["pair"], dataset.pool.x[:, :2])


def lowered(probes, model, dataset, five, adam, logits):
    """The program that observes five models, as JAX hands it to the compiler."""
    ones = all_models(keys.roots(3), five, hyper_of(adam, 5))
    parts = (dataset.pool, dataset.population, dataset.test)
    programs = compile_programs(recipe_of(model, five, adam), model_mesh(jax.devices()[:1]), 1, probes)
    state = jax.eval_shape(programs.initialise, ones, parts[0].x[0])
    own_keys = record_keys(jax.random.key(0), 20) if probes else None
    look = programs.observe_logits if logits else programs.observe
    return look.lower(state, ones, parts, np.int32(1), own_keys)


def test_without_probes_the_programs_hold_nothing_of_them(probes, model, dataset, five, adam):
    """One that is kept for logits only must leave no trace in the program without logits either."""
    only_with_logits = [one for one in probes if one.with_logits]
    plain, kept = (
        [lowered(these, model, dataset, five, adam, logits) for logits in (False, True)]
        for these in ([], only_with_logits)
    )
    inputs = [len(jax.tree.leaves(program.in_avals)) for program in (*plain, *kept)]
    assert inputs == [inputs[0], inputs[0], inputs[0] + 1, inputs[0] + 1], "and their keys are no input"
    sizes = [len(program.as_text()) for program in (*plain, *kept)]
    assert sizes[2] - sizes[0] < 0.03 * sizes[0]
    assert sizes[3] > sizes[1]


def test_a_model_is_asked_no_more_often_without_probes(train, tiny_dropout, five, adam):
    asked = Counter()

    def apply(params, x, *, key=None, train=False):
        asked["train" if train else "observe"] += 1
        return tiny_dropout.apply(params, x, key=key, train=train)

    train(tiny_dropout._replace(apply=apply), five, adam, (1,))
    assert asked["observe"] == 1 + 3, (
        "once for its shape, and each for the pool, the population and the test records"
    )


def test_memory_does_not_hold_a_gradient_for_each_record(dataset, five, adam):
    wide = Model(
        lambda key, x: {"in": jnp.ones((4, 2000)), "out": jnp.ones((2000, 3))},
        lambda params, x, **_: jnp.tanh(x @ params["in"]) @ params["out"],
    )
    parameters, temporary = 7 * 2000, {}
    for size in (256, 2048):
        x = np.resize(dataset.pool.x, (size, 4))
        larger = dataset._replace(pool=Records(x, np.resize(dataset.pool.y, size)))
        [one] = chosen(RecordingConfig(signals=("gradient_norm",)), "wide", wide, larger)
        assert one.records_at_once == (1 << 20) // parameters
        records, own_keys = Records(*map(jnp.asarray, larger.pool)), record_keys(jax.random.key(0), size)
        measured = jax.jit(lambda params, records, keys, one=one: probe([one], params, records, keys))
        program = measured.lower(wide.init(None, None), records, own_keys).compile()
        temporary[size] = program.memory_analysis().temp_size_in_bytes
    assert temporary[2048] < 4 * 10 * (1 << 20)
    assert temporary[2048] - temporary[256] < 0.05 * (2048 - 256) * parameters * 4


# In a run directory ------------------------------------------------------------------------


class StopError(Exception):
    """Ends a training in the middle."""


class Told:
    """A reporter that keeps what it is told, and ends the training after some segments."""

    def __init__(self, segments=100):
        self.left, self.said = segments, []

    def say(self, text):
        self.said.append(text)

    def begin(self, family, models, steps, done):
        pass

    def advance(self, models_done, steps):
        self.left -= 1
        if self.left == 0:
            raise StopError

    def end(self):
        pass


SMALL = Config(
    data=DataConfig(
        source="synthetic:gaussian,classes=3,features=6", pool_size=30, population_size=10, test_size=10
    ),
    membership=MembershipConfig(num_models=6, train_size=15, design="paired"),
    families={"mlp": FamilyConfig(hidden=4), "rnn": FamilyConfig(kind="rnn", hidden=3, steps=2)},
    training=TrainingConfig(epochs=2, batch_size=8, models_per_chunk=4),
    recording=RecordingConfig(
        signals=("gradient_norm", "embedding_norm", "step_logits"), queries=("flip",), num_checkpoints=2
    ),
)
EVERYWHERE = {"gradient_norm", "embedding_norm", "query_log_prob", "query_scaled_logit"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    told = Told()
    finished = study.train(SMALL, tmp_path_factory.mktemp("probed"), tell=told)
    return finished, told.said


def test_a_run_knows_what_was_recorded_at_which_checkpoint(run):
    opened = existing(run[0].path)
    for family in ("mlp", "rnn"):
        for checkpoint in (0, 1):
            names = opened.segments(family).recorded(checkpoint)
            probed = {name.removeprefix("pool/") for name in names} & (EVERYWHERE | {"step_logits"})
            steps = {"step_logits"} if family == "rnn" and checkpoint == 1 else set()
            assert probed == EVERYWHERE | steps
            assert ("pool/logits" in names) == (checkpoint == 1)
            for name in names:
                assert len(opened.segments(family).signal(name, checkpoint)) == 6
    assert opened.segments("rnn").signal("pool/step_logits", 1).shape == (6, 30, 2, 3)
    assert opened.segments("mlp").signal("pool/query_log_prob", 0).shape == (6, 30, 2)


def test_a_family_that_has_no_steps_says_so(run):
    said = [line for line in run[1] if "step_logits" in line]
    assert said == ["mlp: no step_logits are recorded, as its models do not read step by step"]


@pytest.mark.parametrize("segments", [pytest.param(2, marks=pytest.mark.slow), 7])
def test_a_stopped_run_ends_with_the_same_numbers(run, tmp_path, segments):
    with pytest.raises(StopError):
        study.train(SMALL, tmp_path, tell=Told(segments))
    resumed = study.train(SMALL, tmp_path)
    for family in ("mlp", "rnn"):
        for checkpoint in (0, 1):
            expected = run[0].segments(family)
            assert resumed.segments(family).recorded(checkpoint) == expected.recorded(checkpoint)
            for name in expected.recorded(checkpoint):
                got = resumed.segments(family).signal(name, checkpoint)
                np.testing.assert_array_equal(got, expected.signal(name, checkpoint), err_msg=name)


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (RecordingConfig(signals=("step_logits",), logits="none"), 'config.recording.logits is "none"'),
        (RecordingConfig(signals=("adversarial_distance",)), "records of this data are token ids"),
        (RecordingConfig(queries=("shift",)), "config.recording.queries is"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_any_work(recording, words, tmp_path):
    data = dataclasses.replace(SMALL.data, source="synthetic:markov")
    families = {"gru": FamilyConfig(kind="gru", hidden=3)}
    config = dataclasses.replace(SMALL, recording=recording, data=data, families=families)
    with pytest.raises(ConfigError, match=words):
        study.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_completeness_is_looked_up_once_until_something_is_written(run, monkeypatch):
    segments = existing(run[0].path).segments("mlp")
    looked = Counter()
    finished = type(segments)._finished

    def counted(self, start, stop):
        looked["chunks"] += 1
        return finished(self, start, stop)

    monkeypatch.setattr(type(segments), "_finished", counted)
    for _ in range(5):
        segments.signal("pool/log_prob", 0)
        segments.check_complete()
    assert looked["chunks"] == 2
