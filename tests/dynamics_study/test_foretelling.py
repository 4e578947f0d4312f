"""The early warning as files: what they hold, and that another study can be trained without their records."""

import dataclasses
import json
import math

import numpy as np
import pytest

from mia_jax.config import Config, ConfigError, MembershipConfig, to_mapping
from mia_jax.dynamics_study import foretelling
from mia_jax.study import without


@pytest.fixture
def config():
    """100 records, of which a tenth is listed after three tenths of the training."""
    plain = Config()
    data = dataclasses.replace(plain.data, pool_size=100)
    return dataclasses.replace(plain, data=data, membership=MembershipConfig(train_size=40))


@pytest.fixture
def rows(make_study, config):
    """Two arms of that study, one record unknown."""
    made = make_study(2, records=100, checkpoints=11, last=100)
    for arm in made.arms:
        arm.fpr[:, 7] = np.nan
    arms = tuple(arm._replace(foretold={"epoch": 30, "share": 0.1, "overlap": 0.4}) for arm in made.arms)
    return made._replace(config=to_mapping(config), arms=arms)


def contents(rows, directory):
    paths = foretelling.write(rows, directory)
    return paths, [json.loads(path.read_text()) for path in paths]


def test_every_arm_has_a_file_of_its_most_exposed_early_records(rows, tmp_path):
    paths, found = contents(rows, tmp_path)
    assert [path.parent.name for path in paths] == ["early_warning"] * 2
    for arm, content in zip(rows.arms, found, strict=True):
        assert arm.epochs[3] == 30
        v = arm.vulnerability[3]
        assert content["fingerprint"] == arm.pool
        assert (content["arm"], content["who"]) == (arm.name, arm.who)
        assert len(content["rows"]) == len(set(content["rows"])) == round(0.1 * 99)
        assert 7 not in content["rows"]
        listed = v[content["rows"]]
        assert (np.diff(listed) <= 0).all()
        assert listed.min() >= np.nanmax(np.delete(v, content["rows"]))
        np.testing.assert_allclose(content["early_vulnerability"], listed, atol=5e-7)
        np.testing.assert_array_equal(content["rows"], foretelling.foretold_rows(arm, rows.config))


def test_what_lists_are_worth_stands_beside_them(rows, tmp_path):
    measured = {"epoch": 30, "share": 0.1, "precision": 0.4, "recall": math.nan, "recall_chance": 0.1}
    arms = tuple(arm._replace(foretold=measured) for arm in rows.arms)
    _, found = contents(rows._replace(arms=arms), tmp_path)
    assert found[0]["measured"] == {**measured, "recall": None}


def test_as_many_are_drawn_by_lot_for_comparison(rows, tmp_path):
    paths, found = contents(rows, tmp_path)
    for path, content in zip(paths, found, strict=True):
        lot = json.loads(path.with_name(f"{path.stem}_by_lot.json").read_text())
        assert lot["fingerprint"] == content["fingerprint"]
        assert len(set(lot["rows"])) == len(content["rows"])
        assert 7 not in lot["rows"]
        assert set(lot["rows"]) <= set(range(100))
        assert set(lot["rows"]) != set(content["rows"])


def test_a_training_without_them_reads_them(rows, config, tmp_path):
    paths, found = contents(rows, tmp_path)
    for path, content in zip(paths, found, strict=True):
        own = dataclasses.replace(config, membership=MembershipConfig(train_size=40, without=str(path)))
        np.testing.assert_array_equal(without.rows_of(own, content["fingerprint"]), content["rows"])
        with pytest.raises(ConfigError, match="it is of other records"):
            without.rows_of(own, "another pool")


def test_arms_write_over_what_was_there_and_never_share_a_file(rows, tmp_path):
    first = foretelling.write(rows, tmp_path)
    before = [path.read_bytes() for path in first]
    assert len(set(first)) == 2
    rows.arms[0].tpr[3] = rows.arms[0].tpr[3][::-1]
    assert foretelling.write(rows, tmp_path) == first
    after = [path.read_bytes() for path in first]
    assert after[0] != before[0]
    assert after[1] == before[1]
