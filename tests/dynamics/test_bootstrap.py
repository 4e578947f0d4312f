"""The bootstrap over records: against the mean's own interval, and where repeats would mislead it."""

import numpy as np
import pytest

from mia_jax import dynamics


def test_a_mean_has_its_usual_interval():
    values = np.random.default_rng(0).exponential(size=(2, 300))
    found = dynamics.record_bootstrap(
        lambda rows: values[:, rows].mean(axis=1), 300, np.random.default_rng(1), 4000
    )
    mean, reach = values.mean(axis=1), 1.96 * values.std(axis=1) / np.sqrt(300)
    np.testing.assert_allclose(found.value, mean)
    np.testing.assert_allclose(found.low, mean - reach, atol=0.1 * reach.min())
    np.testing.assert_allclose(found.high, mean + reach, atol=0.1 * reach.min())
    again = dynamics.record_bootstrap(
        lambda rows: values[:, rows].mean(axis=1), 300, np.random.default_rng(1), 4000
    )
    np.testing.assert_array_equal(found, again)


def test_repeats_do_not_draw_an_entropy_down():
    rng = np.random.default_rng(2)

    def points(records):
        return rng.binomial(32, [[0.3], [0.7]], (2, records)) / 32

    def entropy(fpr, tpr):
        return dynamics.spatial_entropy(fpr[None], tpr[None])[0]

    truth = np.mean([entropy(*points(200)) for _ in range(300)])
    covered = 0
    for _ in range(60):
        fpr, tpr = points(200)
        found = dynamics.record_bootstrap(lambda rows, x=fpr, y=tpr: entropy(x[rows], y[rows]), 200, rng, 100)
        assert found.low < found.value < found.high
        covered += found.low <= truth <= found.high
    assert covered >= 50


def test_draws_without_a_value_are_left_out():
    marked = np.arange(6) == 0

    def share(rows):  # of the marked records: NaN where none is drawn
        here = marked[rows]
        return np.array([here.mean() if here.any() else np.nan, np.nan])

    found = dynamics.record_bootstrap(share, 6, np.random.default_rng(3), 200)
    assert found.low[0] < found.value[0] < found.high[0]
    assert np.isnan([found.value[1], found.low[1], found.high[1]]).all()


def test_a_statistic_that_never_varies_has_no_width():
    assert dynamics.record_bootstrap(lambda rows: 0.25, 10, np.random.default_rng(4)) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("records", "draws", "confidence", "message"),
    [
        (1, 10, 0.95, "num_records is 1: it must be at least 2"),
        (5, 1, 0.95, "draws is 1: it must be at least 2"),
        (5, 2.5, 0.95, "draws is 2.5: it must be a whole number of at least 2"),
        (5, 10, 1.0, "confidence is 1.0"),
    ],
)
def test_bad_input_is_named(records, draws, confidence, message):
    with pytest.raises(ValueError, match=message):
        dynamics.record_bootstrap(np.mean, records, np.random.default_rng(0), draws, confidence)


def test_a_seed_is_no_generator():
    with pytest.raises(ValueError, match="rng is 0: it must be a generator of NumPy"):
        dynamics.record_bootstrap(np.mean, 5, 0)
