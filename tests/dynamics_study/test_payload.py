"""What the explorer gets, read back by a decoder of the test's own."""

import base64
import json
import math
import struct

import numpy as np
import pytest

from mia_jax.dynamics_study.page import payload
from mia_jax.dynamics_study.rows import CURVES, Shown


def unpacked(text, kind):
    """Numbers of base64 text, by struct."""
    raw = base64.b64decode(text, validate=True)
    return [value for (value,) in struct.iter_unpack(f"<{kind}", raw)]


def opened(byte, low=0.0, high=1.0):
    return math.nan if byte == 255 else low + (high - low) * byte / 254


def ranged(sent):
    return [opened(byte, sent["low"], sent["high"]) for byte in unpacked(sent["values"], "B")]


def read_back(rows, **rooms):
    return json.loads(payload.as_json(payload.payload(rows, **rooms)))


def with_gaps(arm):
    """The arm with unknown rates: a record, a checkpoint of another, and a whole checkpoint."""
    fpr, tpr = arm.fpr.copy(), arm.tpr.copy()
    fpr[:, 3] = np.nan
    tpr[2, 5] = np.nan
    fpr[1] = tpr[1] = np.nan
    return arm._replace(fpr=fpr, tpr=tpr)


@pytest.fixture(scope="module")
def gaps(study):
    return study._replace(arms=(with_gaps(study.arms[0]), *study.arms[1:]))


def test_quantised_values_are_within_half_a_step():
    values = np.concatenate([np.linspace(0, 1, 100_001), np.arange(33) / 32])
    bytes_ = payload.quantised(values)
    assert bytes_.dtype == np.uint8
    assert np.abs(np.array([opened(int(byte)) for byte in bytes_]) - values).max() <= 1 / 508 + 1e-12
    assert (bytes_[0], bytes_[100_000]) == (0, 254)
    assert len(np.unique(bytes_)) == 255  # every level is used, and none is the unknown's


def test_what_is_not_known_is_255_whatever_the_shape():
    found = payload.quantised([[np.nan, 2.0], [4.0, np.nan]], 2.0, 4.0)
    assert found.tolist() == [[255, 0], [254, 255]]


@pytest.mark.parametrize("value", [-0.01, 1.01, np.inf, -np.inf])
def test_values_outside_are_refused(value):
    with pytest.raises(ValueError, match=r"values hold .*: they must lie in \[0, 1\]"):
        payload.quantised([0.5, value])


def test_bounds_must_rise():
    with pytest.raises(ValueError, match="high is 1: it must lie above low, 1"):
        payload.quantised([1.0], 1.0, 1.0)


def test_rates_come_back(gaps):
    sent = read_back(gaps)
    for arm, one in zip(gaps.arms, sent["arms"], strict=True):
        assert one["epochs"] == one["curveEpochs"] == arm.epochs.tolist()
        for name in ("fpr", "tpr"):
            flat = getattr(arm, name).ravel()
            found = [opened(byte) for byte in unpacked(one[name], "B")]
            assert len(found) == len(flat)
            for value, true in zip(found, flat, strict=True):
                assert (math.isnan(value) and math.isnan(true)) or abs(value - true) <= 1 / 508 + 1e-12


def test_what_stands_beside_the_rates_comes_back(gaps):
    sent = read_back(gaps)
    for arm, one in zip(gaps.arms, sent["arms"], strict=True):
        assert (one["name"], one["models"]) == (arm.name, arm.num_models)
        assert sent["pools"][one["pool"]]["name"] == arm.pool
        for name, error in (("fprError", arm.fpr_error), ("tprError", arm.tpr_error)):
            step = one[name]["high"] - one[name]["low"]
            assert np.allclose(ranged(one[name]), error[-1], atol=step / 508 + 1e-12, rtol=0)
        for name, values in arm.difficulty.items():
            assert np.array_equal(unpacked(one["difficulty"][name], "f"), values.astype(np.float32))
        assert list(one["curves"]) == [name for name in CURVES if name in arm.curves]
        for name, values in one["curves"].items():
            read = [math.nan if value is None else value for value in values]
            assert np.allclose(read, arm.curves[name], rtol=1e-5, atol=0, equal_nan=True)


def test_states_and_centers_are_of_exact_rates(gaps):
    for arm, one in zip(gaps.arms, read_back(gaps)["arms"], strict=True):
        for t, shares in enumerate(one["states"]):
            v = [tpr - fpr for fpr, tpr in zip(arm.fpr[t], arm.tpr[t], strict=True)]
            v = [value for value in v if not math.isnan(value)]
            assert one["known"][t] == len(v)
            if not v:
                assert shares == [None, None, None]
                assert (one["center"][0][t], one["center"][1][t]) == (None, None)
                continue
            high = sum(value >= gaps.cuts[1] - 1e-9 for value in v)
            low = sum(value < gaps.cuts[0] - 1e-9 for value in v)
            expected = [low / len(v), 1 - (low + high) / len(v), high / len(v)]
            assert shares == pytest.approx(expected, rel=1e-5, abs=1e-9)
            drift = one["center"][1][t] - one["center"][0][t]
            assert drift == pytest.approx(sum(v) / len(v), abs=2e-6)


def test_labels_and_records_stand_once_a_pool(study):
    sent = read_back(study)
    assert [pool["name"] for pool in sent["pools"]] == ["digits", "walks"]
    assert [arm["pool"] for arm in sent["arms"]] == [0, 0, 1]
    for pool, arm in zip(sent["pools"], (study.arms[0], study.arms[2]), strict=True):
        assert unpacked(pool["labels"], "i") == arm.labels.tolist()
        assert pool["records"] == len(arm.labels)


def test_pictures_come_back_byte_for_byte(study):
    shown = read_back(study)["pools"][0]["shown"]
    assert (shown["kind"], shown["shape"]) == ("image", [8, 8])
    assert shown["rows"] == study.shown["digits"].rows.tolist()
    assert bytes(unpacked(shown["values"], "B")) == study.shown["digits"].values.tobytes()


def test_sequences_come_back_within_half_a_step_and_padding_as_unknown(study):
    shown, true = read_back(study)["pools"][1]["shown"], study.shown["walks"].values
    found = np.reshape(ranged(shown), true.shape)
    assert np.array_equal(np.isnan(found), np.isnan(true))
    assert np.nanmax(np.abs(found - true)) <= (shown["high"] - shown["low"]) / 508 + 1e-6


@pytest.mark.parametrize("values", [np.full((4, 6), 2.5, np.float32), np.full((4, 6), np.nan, np.float32)])
def test_values_that_are_all_the_same_or_all_unknown_can_be_sent(one_arm, values):
    shown = {"digits": Shown(np.arange(4), "vector", values)}
    found = ranged(read_back(one_arm._replace(shown=shown))["pools"][0]["shown"])
    assert np.allclose(found, values.ravel(), equal_nan=True)


def test_texts_are_sent_as_they_are_and_cannot_end_the_script(one_arm, evil):
    shown = {"digits": Shown(np.array([2, 7]), "text", [evil, "plain ∂ \u2028"])}
    text = payload.as_json(payload.payload(one_arm._replace(shown=shown)))
    assert not {"<", ">", "&"} & set(text)
    assert text.isascii()
    assert json.loads(text)["pools"][0]["shown"]["texts"] == [evil, "plain ∂ \u2028"]


def test_json_is_strict():
    with pytest.raises(ValueError, match="not JSON compliant"):
        payload.as_json({"value": math.nan})


def test_arms_of_one_pool_must_have_the_same_labels(study):
    other = study.arms[1]._replace(labels=study.arms[1].labels + 1)
    with pytest.raises(ValueError, match="labels of 'lstm · sgd' differ from those of 'mlp · sgd'"):
        payload.payload(study._replace(arms=(study.arms[0], other)))


def test_without_room_checkpoints_are_left_out_evenly(study):
    whole, thin = read_back(study), read_back(study, rates_room=8_000)
    for arm, one, full in zip(study.arms, thin["arms"], whole["arms"], strict=True):
        places = [arm.epochs.tolist().index(epoch) for epoch in one["epochs"]]
        assert 2 <= len(places) < len(arm.epochs)
        assert (places[0], places[-1]) == (0, len(arm.epochs) - 1)
        assert max(np.diff(places)) - min(np.diff(places)) <= 1
        assert (one["checkpoints"], one["curves"]) == (len(arm.epochs), full["curves"])
        rows = np.reshape(unpacked(full["fpr"], "B"), arm.fpr.shape)[places]
        assert unpacked(one["fpr"], "B") == rows.ravel().tolist()
        assert one["states"] == [full["states"][place] for place in places]
    assert sum(len(unpacked(arm[side], "B")) for arm in thin["arms"] for side in ("fpr", "tpr")) <= 8_000


def test_without_room_the_most_exposed_records_are_shown(study):
    shown = read_back(study, shown_room=10 * 64)["pools"][0]["shown"]
    final = [max(row) for row in zip(*(arm.vulnerability[-1] for arm in study.arms[:2]), strict=True)]
    ranked = sorted(range(300), key=lambda row: (-final[row], row))
    assert shown["rows"] == sorted(ranked[:10])
    assert shown["all"] == 300
    assert bytes(unpacked(shown["values"], "B")) == study.shown["digits"].values[shown["rows"]].tobytes()


def test_a_pool_without_records_to_show_has_none(one_arm):
    assert read_back(one_arm._replace(shown={}))["pools"][0]["shown"] is None


def test_a_rate_weighs_a_byte_and_a_third(make_study):
    rows = make_study(2, records=2_000, checkpoints=10)
    bare = rows._replace(shown={}, arms=tuple(arm._replace(difficulty={}, curves={}) for arm in rows.arms))
    rates = sum(2 * arm.fpr.size for arm in rows.arms)
    assert len(payload.as_json(payload.payload(bare))) < 4 / 3 * rates + 40_000
