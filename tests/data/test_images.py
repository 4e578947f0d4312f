"""Images of another size: the triangle filter written out, what is refused, and what it does to a data set."""

import numpy as np
import pytest

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load
from mia_jax.data.images import _AT_ONCE, resized
from mia_jax.data.source import Source, Table

CONFIG = DataConfig(source="npz:records.npz", pool_size=10, population_size=5)


def config_of(size):
    return DataConfig(source="npz:records.npz", pool_size=10, population_size=5, image_size=size)


def source_of(values, test=None, length=None, tokens=False):
    """A source of these records, with labels that count up."""

    def table(values):
        return Table(values, length, np.arange(len(values), dtype=np.int32))

    return Source(table(values), None if test is None else table(test), tokens, 0, {})


def triangle(old, new):
    """How much of each old pixel is in each new one, float64 [new, old]: a hat as wide as the coarser grid."""
    weights, width = np.zeros((new, old)), max(old / new, 1.0)
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        for j in range(old):
            weights[i, j] = max(0.0, 1.0 - abs(j - centre) / width)
        weights[i] /= weights[i].sum()
    return weights


def by_hand(images, size):
    """Images [M, H, W, …] resized in float64, pixel by pixel along each side."""
    rows, columns = (triangle(images.shape[axis], size) for axis in (1, 2))
    return np.einsum("ah,mhw...,bw->mab...", rows, images.astype(np.float64), columns)


def images_of(rng, shape, dtype):
    if dtype == np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize(
    ("shape", "size"), [((28, 28), 16), ((32, 32, 3), 16), ((9, 14, 1), 5), ((8, 8), 12), ((8, 8), 8)]
)
def test_it_is_the_triangle_filter(rng, shape, size, dtype):
    images = images_of(rng, (7, *shape), dtype)
    found = resized(source_of(images, images[:3]), config_of(size))
    assert found.train.values.dtype == found.test.values.dtype == np.float32
    assert found.train.values.shape == (7, size, size, *shape[2:])
    expected = by_hand(images, size)
    np.testing.assert_allclose(found.train.values, expected, rtol=1e-5, atol=1e-5 * np.abs(images).max())
    np.testing.assert_array_equal(found.test.values, found.train.values[:3])
    np.testing.assert_array_equal(found.train.y, np.arange(7))


@pytest.mark.parametrize("value", [0, 1, 37, 255])
def test_an_image_of_one_colour_keeps_it(value):
    images = np.full((3, 28, 28), value, np.uint8)
    np.testing.assert_allclose(resized(source_of(images), config_of(16)).train.values, value, rtol=1e-6)


def test_the_mean_stays_and_stripes_of_a_pixel_become_grey(rng):
    """Without the filter every other stripe would be dropped, and the image be black or white."""
    smooth = rng.normal(size=(20, 28, 28)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)
    found = resized(source_of(smooth), config_of(16)).train.values
    spread = smooth.std(axis=(1, 2))
    assert (np.abs(found.mean(axis=(1, 2)) - smooth.mean(axis=(1, 2))) < 0.02 * spread).all()
    stripes = np.tile(np.asarray([0, 255], np.uint8), (1, 28, 14))
    inner = resized(source_of(stripes), config_of(7)).train.values[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 127.5, rtol=1e-5)


def test_channels_are_apart(rng):
    images = images_of(rng, (4, 32, 32, 3), np.uint8)
    found = resized(source_of(images), config_of(16)).train.values
    for channel in range(3):
        alone = resized(source_of(images[..., channel]), config_of(16)).train.values
        np.testing.assert_allclose(found[..., channel], alone, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_same_image_is_the_same_bytes_wherever_it_stands(rng, dtype):
    """Or a duplicate could be member and non-member at once."""
    image = images_of(rng, (1, 28, 28), dtype)
    many = np.repeat(image, _AT_ONCE + 37, axis=0)
    found = resized(source_of(many, image), config_of(16))
    every = np.concatenate([found.train.values, found.test.values]).reshape(len(many) + 1, -1)
    assert len(np.unique(every.view(np.uint32), axis=0)) == 1


def test_blocks_of_images_are_images_one_by_one(rng):
    images = images_of(rng, (_AT_ONCE + 2, 5, 5), np.float32)
    found = resized(source_of(images), config_of(3)).train.values
    np.testing.assert_allclose(found, by_hand(images, 3), rtol=1e-5, atol=1e-5)


def test_0_leaves_the_source_as_it_is(rng):
    for values in (images_of(rng, (4, 9, 9), np.uint8), rng.normal(size=(4, 6))):
        source = source_of(values, values)
        assert resized(source, CONFIG) is source


REFUSED = {
    "vectors": (source_of(np.ones((4, 6))), "its records are of shape [6], and config.data.image_size is 16"),
    "volumes": (source_of(np.ones((4, 3, 3, 3, 2))), "its records are of shape [3, 3, 3, 2]"),
    "tokens": (source_of(np.ones((4, 6), np.int32), tokens=True), "its records are token ids"),
    "ragged": (
        source_of(np.ones((4, 6, 2)), length=np.full(4, 3)),
        "its records are sequences of different lengths",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_image_is_refused(case):
    source, words = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        resized(source, config_of(16))
    said = str(caught.value)
    assert said.startswith(f"config.data.source is 'npz:records.npz': {words}")
    assert said.endswith("can be resized: leave it at 0.")
    assert "\n" not in said


@pytest.mark.parametrize("size", [-1, 2.0, "16", True])
def test_a_size_is_a_whole_number_from_0(size):
    with pytest.raises(ConfigError, match=r"^DataConfig\.image_size is .*: it must be "):
        DataConfig(image_size=size)


# Through the whole of a source


def test_a_data_set_of_other_sizes_is_another(saved, rng):
    images, y = images_of(rng, (40, 12, 12), np.uint8), np.arange(40) % 3
    as_is, small, smaller, again = (load(saved({"image_size": size}, x=images, y=y)) for size in (0, 6, 4, 6))
    plain = load(saved(x=images, y=y))
    assert plain.pool.x.tobytes() == as_is.pool.x.tobytes()
    assert plain.facts == as_is.facts
    assert small.facts["fingerprint"] == again.facts["fingerprint"]
    prints = {one.facts["fingerprint"] for one in (as_is, small, smaller)}
    assert len(prints) == 3
    assert small.facts["record_shape"] == [6, 6]
    assert small.pool.x.shape == (10, 6, 6)
    np.testing.assert_array_equal(small.pool.y, as_is.pool.y)
    assert small.pool.x.dtype == np.float32


def test_the_records_of_every_part_are_those_resized(saved, rng):
    images, y = images_of(rng, (40, 12, 12), np.uint8), np.arange(40) % 3
    settings = {"standardize": False}
    large = load(saved(settings, x=images, y=y))
    small = load(saved(settings | {"image_size": 6}, x=images, y=y))
    for part in ("pool", "population", "test"):
        expected = by_hand(getattr(large, part).x, 6)
        np.testing.assert_allclose(getattr(small, part).x, expected, rtol=1e-5, atol=1e-3)


def test_records_that_become_equal_are_dropped(saved, rng):
    """Differences that a size cannot show: two images are one record, also across the source's own split."""
    images = images_of(rng, (40, 8, 8), np.float32)
    images[0, 0, 0] = 0.0
    images[1] = images[0]
    images[1, 0, 0] = 1e-30
    x_test = images_of(rng, (20, 8, 8), np.float32)
    x_test[5] = images[0]
    arrays = {"x_train": images, "y_train": np.arange(40) % 3, "x_test": x_test, "y_test": np.arange(20) % 3}
    assert (images[0] != images[1]).any()
    dropped = [load(saved({"image_size": size}, **arrays)).facts["duplicates_dropped"] for size in (0, 2)]
    assert dropped == [1, 2]


def test_digits_of_another_size_load():
    dataset = load(DataConfig(image_size=4))
    assert dataset.pool.x.shape == (400, 4, 4)
    assert dataset.facts["record_shape"] == [4, 4]


def test_tokens_of_an_archive_are_refused(saved, rng):
    ids = rng.integers(0, 50, (40, 6))
    with pytest.raises(ConfigError, match="its records are token ids"):
        load(saved({"kind": "tokens", "image_size": 4}, x=ids, y=np.arange(40) % 3))
