"""A sentence for every mistake: it names the array, what came and where, what is allowed and what to do.

In the sentences below an ellipsis stands for anything.
"""

import re

import numpy as np
import pytest

from mia_jax.config import ConfigError
from mia_jax.signals_file import observations_of


def probabilities(g):
    return np.exp(g["logits"]) / np.exp(g["logits"]).sum(-1, keepdims=True)


def marked(shape, value=1):
    return np.full(shape, value)


# Of all arrays, what is changed (None: left out), and the sentence.
CHANGED = {
    "no member": (
        lambda g: {"member": None},
        "member is missing (there are only adversarial_distance, …): add member, bool [K, N]",
    ),
    "misspelt": (
        lambda g: {"logit": g["logits"]},
        "logit is no array that is read, and none is ignored: rename it if logits was meant",
    ),
    "upper case": (
        lambda g: {"Labels": g["labels"]},
        "Labels is no array that is read, …: rename it if labels was meant",
    ),
    "another word": (
        lambda g: {"membership": g["member"]},
        "membership is no array that is read, …: save it under the name member.",
    ),
    "probs": (
        lambda g: {"probs": g["logits"]},
        "probs is no array that is read, …: save it under the name logits, as np.log(",
    ),
    "loss": (
        lambda g: {"loss": g["entropy"]},
        "loss is no array that is read, …: save it under the name log_prob, as the negative of",
    ),
    "unnamed": (
        lambda g: {"arr_0": g["logits"]},
        "arr_0 is no array that is read, …: save arrays by name, as in np.savez(path, member",
    ),
    "unknown": (
        lambda g: {"zzz": g["logits"]},
        "zzz is no array that is read, …: leave it out, or name it slice_NAME if",
    ),
    "nameless slice": (lambda g: {"slice_": g["labels"]}, "slice_ is no array that is read"),
    "no population labels": (
        lambda g: {"population_labels": None},
        "population_logits is there without population_labels: add population_labels [Z]",
    ),
    "no features": (
        lambda g: {"features": None},
        "population_features is there without features: add features [N, …]",
    ),
    "flat member": (
        lambda g: {"member": g["member"][0]},
        "member has shape (7,): it must be [K, N] (K models, N records); give every model a row",
    ),
    "one record": (
        lambda g: {"member": g["member"][:, :1]},
        "member has shape (5, 1): its second axis is the records, and must have at least",
    ),
    "all members": (
        lambda g: {"member": marked((5, 7), True)},
        "member is True everywhere, from member[0, 0] on: there must be members and non-members",
    ),
    "no members": (
        lambda g: {"member": marked((5, 7), 0)},
        "member is False everywhere, from member[0, 0] on: …no model has a member; set member",
    ),
    "all valid members": (
        lambda g: {"member": np.tile(np.arange(5)[:, None] > 0, 7), "valid": np.arange(5) > 0},
        "member is True everywhere, from member[1, 0] on",
    ),
    "indices": (
        lambda g: {"member": np.arange(35).reshape(5, 7)},
        "member[0, 2] is 2: a mask holds only True/False or 1/0, never indices; of indices make a mask",
    ),
    "fewer indices": (
        lambda g: {"member": np.arange(15).reshape(5, 3)},
        "member[0, 2] is 2: a mask holds only True/False or 1/0, never indices",
    ),
    "negative member": (
        lambda g: {"member": np.where(g["member"], 1, -1)},
        "member[0, …] is -1: a mask holds only",
    ),
    "real member": (
        lambda g: {"member": g["member"] * 1.0},
        "member has dtype float64: it must be boolean, or 0/1 integers, …pass member.astype(bool).",
    ),
    "text member": (
        lambda g: {"member": g["member"].astype(str)},
        "member has dtype <U5: it must be boolean, or 0/1 integers",
    ),
    "transposed": (
        lambda g: {"log_prob": g["log_prob"].T},
        (
            "log_prob has shape (7, 5): it must be [K, N] = [5, 7], with K = 5 models as in member of shape "
            "(5, 7); its axes stand in another order: pass np.swapaxes(log_prob, 0, 1)."
        ),
    ),
    "transposed logits": (
        lambda g: {"logits": g["logits"].swapaxes(0, 1)},
        "logits has shape (7, 5, 3): it must be [K, N, C] = [5, 7, C], …: pass np.swapaxes(logits, 0, 1).",
    ),
    "time last": (
        lambda g: {"trajectory": g["trajectory"].swapaxes(1, 2)},
        (
            "trajectory has shape (5, 7, 3): it must be [K, T, N] = [5, T, 7], …: pass "
            "np.swapaxes(trajectory, 1, 2)."
        ),
    ),
    "short": (
        lambda g: {"entropy": g["entropy"][:, 1:]},
        (
            "entropy has shape (5, 6): it must be [K, N] = [5, 7], with N = 7 records as in member of shape "
            "(5, 7); save all"
        ),
    ),
    "extra axis": (
        lambda g: {"log_prob": g["log_prob"][..., None]},
        (
            "log_prob has shape (5, 7, 1): it must be [K, N] = [5, 7] (K models, N records); drop its axis "
            "of length 1 with np.squeeze(log_prob, 2)."
        ),
    ),
    "of every class": (
        lambda g: {"log_prob": g["logits"]},
        "log_prob has shape (5, 7, 3): …; what is said of every class belongs in logits.",
    ),
    "two axes": (
        lambda g: {"logits": g["log_prob"]},
        "logits has shape (5, 7): it must be [K, N, C] = [5, 7, C] (K models, N records, C classes)",
    ),
    "one logit": (
        lambda g: {"logits": g["logits"][..., :1]},
        "logits has shape (5, 7, 1): its last axis is the classes, and there must be at least 2; a single logit",
    ),
    "no logit": (
        lambda g: {"logits": g["logits"][..., :0]},
        "logits has shape (5, 7, 0): an axis of length 0 holds nothing; leave logits out.",
    ),
    "classes": (
        lambda g: {"population_logits": g["population_logits"][..., :2]},
        (
            "population_logits has shape (5, 4, 2): it must be [K, Z, C] = [5, 4, 3], with C = 3 classes as "
            "in logits of shape (5, 7, 3)"
        ),
    ),
    "populations": (
        lambda g: {"population_log_prob": g["population_log_prob"][:, 1:]},
        (
            "population_log_prob has shape (5, 3): it must be [K, Z] = [5, 4], with Z = 4 population "
            "records as in population_labels of shape (4,)"
        ),
    ),
    "queries": (
        lambda g: {"query_log_prob": g["query_log_prob"][:, :, 1:]},
        (
            "query_log_prob has shape (5, 7, 1): it must be [K, N, Q] = [5, 7, 2], with Q = 2 queries as in "
            "query_logits"
        ),
    ),
    "one-hot": (
        lambda g: {"labels": np.eye(3, dtype=int)[g["labels"]]},
        (
            "labels has shape (7, 3): it must be [N] = [7] (N records); of one-hot labels pass "
            "labels.argmax(axis=1)."
        ),
    ),
    "labels by model": (
        lambda g: {"labels": np.tile(g["labels"], (5, 1))},
        "labels has shape (5, 7): …; labels are the same for all models, so pass labels[0].",
    ),
    "long labels": (
        lambda g: {"labels": np.arange(8) % 3},
        "labels has shape (8,): it must be [N] = [7], with N = 7 records as in member of shape (5, 7)",
    ),
    "slice of 3 axes": (
        lambda g: {"slice_a": marked((5, 7, 2))},
        "slice_a has shape (5, 7, 2): it must be [K, N] = [5, 7]",
    ),
    "slice of models": (
        lambda g: {"slice_a": marked(5)},
        "slice_a has shape (5,): it must be [N] = [7], with N = 7 records as in member",
    ),
    "scalar": (
        lambda g: {"features": np.float64(3)},
        "features has shape (): it must be [N, …] = [7, …] (N records)",
    ),
    "other records": (
        lambda g: {"population_features": np.ones((4, 3))},
        "population_features has records of shape (3,) and features of shape (4, 4): save both",
    ),
    "exclude": (
        lambda g: {"exclude": marked((5, 4), False)},
        "exclude has shape (5, 4): it must be [K, K] = [5, 5], with K = 5 models as in member",
    ),
    "ragged": (
        lambda g: {"log_prob": [[-1.0, -2.0], [-1.0]]},
        "log_prob is no array (…); pad lists of unequal lengths to one length.",
    ),
    "complex": (
        lambda g: {"logits": g["logits"] + 1j},
        "logits has dtype complex128: it must hold real numbers; save logits as float32.",
    ),
    "objects": (
        lambda g: {"logits": g["logits"].astype(object)},
        "logits has dtype object: Python objects (pickles) are never loaded; save numbers",
    ),
    "bfloat16": (
        lambda g: {"logits": np.zeros((5, 7, 3), "V2")},
        "logits has dtype |V2: it must hold real numbers; save bfloat16 as float32.",
    ),
    "boolean signal": (
        lambda g: {"entropy": g["member"]},
        "entropy has dtype bool: it must hold real numbers",
    ),
    "real labels": (
        lambda g: {"labels": g["labels"] * 1.0},
        "labels has dtype float64: it must hold integers; pass labels.astype(int).",
    ),
    "boolean labels": (lambda g: {"labels": g["labels"] > 0}, "labels has dtype bool: it must hold integers"),
    "real twin": (lambda g: {"twin": marked(5, -1.0)}, "twin has dtype float64: it must hold integers"),
    "real slice": (
        lambda g: {"slice_a": np.ones(7)},
        (
            "slice_a has dtype float64: groups are named by integers, booleans or strings; cut real numbers "
            "into bins"
        ),
    ),
    "labels from 1": (
        lambda g: {"labels": g["labels"] + 1},
        (
            "labels[2] is 3: labels must lie in 0 to 2, the 3 classes of logits; they seem to count from 1, "
            "so pass labels - 1."
        ),
    ),
    "far label": (
        lambda g: {"labels": np.array([0, 1, 2, 0, 1, 9, 0])},
        "labels[5] is 9: labels must lie in 0 to 2, the 3 classes of logits; number the classes from 0",
    ),
    "no label": (
        lambda g: {"labels": np.array([0, 1, 2, 0, -1, 2, 0])},
        "labels[4] is -1: labels must lie in 0 to 2, …; leave records without a label out of every array.",
    ),
    "huge label": (
        lambda g: {"labels": np.full(7, 2**64 - 1, np.uint64)},
        "labels[0] is 18446744073709551615: no label or model has such a number",
    ),
    "population label": (
        lambda g: {"population_labels": np.array([0, 1, 3, 0])},
        "population_labels[2] is 3: labels must lie in 0 to 2, the 3 classes of logits",
    ),
    "float32 overflow": (
        lambda g: {"gradient_norm": np.full((5, 7), np.inf, np.float32)},
        "gradient_norm[0, 0] is inf: it must be a finite number",
    ),
    "float16 overflow": (
        lambda g: {"logits": np.full((5, 7, 3), np.inf, np.float16)},
        "logits[0, 0, 0] is inf: it must be a finite number",
    ),
    "wide overflow": (
        lambda g: {"gradient_norm": np.full((5, 7), np.finfo(np.longdouble).max)},
        "gradient_norm[0, 0] is …: it must be",
    ),
    "negative distance": (
        lambda g: {"adversarial_distance": -g["adversarial_distance"]},
        "adversarial_distance[0, 0] is -…: it must be 0 or more; pass it as it is, neither its negative nor",
    ),
    "probabilities": (
        lambda g: {"logits": probabilities(g)},
        (
            "logits[0, 0] is […], which sums to 1 as all rows of model 0 do: these are probabilities p "
            "where logits are due; as logits pass np.log(np.maximum(p, floor)), floor being half of the smallest p "
            "above 0."
        ),
    ),
    "rounded probabilities": (
        lambda g: {"logits": probabilities(g).round(2).astype(np.float16)},
        "logits[0, 0] is […], which sums to 1",
    ),
    "population probabilities": (
        lambda g: {"population_logits": np.full((5, 4, 3), 1 / 3)},
        "population_logits[0, 0] is [0.333, 0.333, 0.333], which sums to 1",
    ),
    "step probabilities": (
        lambda g: {"step_logits": np.full((5, 7, 6, 3), 1 / 3)},
        "step_logits[0, 0, 0] is [0.333, 0.333, 0.333], which sums to 1 as all rows of model 0 do",
    ),
    "losses over time": (
        lambda g: {"trajectory": -g["trajectory"]},
        "trajectory[0, 0, 0] is …: a log-probability is at most 0; these look like losses, so pass -trajectory.",
    ),
    "shuffled": (
        lambda g: {"scaled_logit": g["scaled_logit"][:, ::-1]},
        "scaled_logit[0, 0] is …, where logits with labels gives …: the two must not contradict each other",
    ),
    "first query": (
        lambda g: {"query_logits": g["query_logits"] * 2, "query_log_prob": None, "query_scaled_logit": None},
        (
            "query_scaled_logit[0, 0, 0], given or derived, is …, where scaled_logit[0, 0] is …: the first "
            "query must be the record itself"
        ),
    ),
    "backwards": (
        lambda g: {"trajectory": g["trajectory"][:, ::-1]},
        (
            "trajectory[0, 2, 0] is …, where log_prob[0, 0] is … as in the first checkpoint: checkpoints "
            "must stand in the order of time; pass trajectory[:, ::-1]."
        ),
    ),
    "valid indices": (
        lambda g: {"valid": np.arange(5)},
        "valid[2] is 2: a mask holds only True/False or 1/0, never indices; pass valid == 1",
    ),
    "few valid": (
        lambda g: {"valid": np.arange(5) < 3},
        "valid marks 3 of 5 models as fit to be attacked: at least 4 are needed; train those",
    ),
    "own twin": (
        lambda g: {"twin": np.array([-1, 1, -1, -1, -1])},
        "twin[1] is 1: it must be another model, 0 to 4, or -1 where model 1 has no twin",
    ),
    "far twin": (
        lambda g: {"twin": np.array([5, -1, -1, -1, -1])},
        "twin[0] is 5: it must be another model, 0 to 4",
    ),
    "negative twin": (
        lambda g: {"twin": np.array([-2, -1, -1, -1, -1])},
        "twin[0] is -2: it must be another model, 0 to 4",
    ),
    "three twins": (
        lambda g: {"twin": np.array([1, 2, 0, -1, -1])},
        "twin[0] is 1, but twin[1] is 2: twins must name each other; of more than two related",
    ),
    "one-sided twin": (
        lambda g: {"twin": np.array([1, -1, -1, -1, -1])},
        "twin[0] is 1, but twin[1] is -1: twins must name each other",
    ),
    "one-sided exclude": (
        lambda g: {"exclude": np.triu(marked((5, 5)))},
        "exclude[0, 1] is True, but exclude[1, 0] is False: …; pass exclude | exclude.T.",
    ),
    "all excluded": (
        lambda g: {"exclude": marked((5, 5), True)},
        "exclude leaves model 0 without any reference: leave out only",
    ),
}

# Of all arrays one number is changed: array, index, value, and the sentence.
ENTRIES = [
    (
        "logits",
        (2, 3, 1),
        np.nan,
        (
            "logits[2, 3, 1] is nan: it must be a finite number; where model 2 diverged add valid, bool "
            "[K], with valid[2] = False."
        ),
    ),
    (
        "logits",
        (2, 3, 1),
        -np.inf,
        (
            "logits[2, 3, 1] is -inf: …; where it is the logarithm of a probability of 0, take "
            "np.log(np.maximum(p, floor)), floor being half of the smallest p above 0."
        ),
    ),
    (
        "scaled_logit",
        (0, 1),
        np.inf,
        "scaled_logit[0, 1] is inf: …; where a probability was rounded to 1, pass logits instead.",
    ),
    (
        "gradient_norm",
        (0, 1),
        1e200,
        "gradient_norm[0, 1] is 1e+200: it must be finite and at most 1e+100 in size",
    ),
    (
        "adversarial_distance",
        (0, 2),
        np.inf,
        "adversarial_distance[0, 2] is inf: …; where no perturbation was found give the largest",
    ),
    (
        "features",
        (1, 2, 3),
        np.nan,
        "features[1, 2, 3] is nan: it must be a finite number; leave such records out of every array.",
    ),
    (
        "population_logits",
        (1, 2, 0),
        np.nan,
        "population_logits[1, 2, 0] is nan: it must be a finite number; where model 1 diverged",
    ),
    ("embedding", (1, 2, 7), np.nan, "embedding[1, 2, 7] is nan"),
    ("correct", (1, 2), np.nan, "correct[1, 2] is nan"),
    (
        "correct",
        (1, 2),
        0.5,
        "correct[1, 2] is 0.5: it must be 1 or 0; pass logits.argmax(axis=-1) == labels.",
    ),
    ("gradient_norm", (1, 2), -1.0, "gradient_norm[1, 2] is -1: it must be 0 or more; pass it as it is"),
    (
        "log_prob",
        (1, 2),
        0.5,
        "log_prob[1, 2] is 0.5: a log-probability is at most 0; pass the natural logarithm of the",
    ),
    (
        "logits",
        2,
        (0.2, 0.3, 0.5),
        "logits[2, 0] is [0.2, 0.3, 0.5], which sums to 1 as all rows of model 2 do",
    ),
    (
        "log_prob",
        (1, 2),
        -9.0,
        (
            "log_prob[1, 2] is -9, where logits with labels gives …: the two must not contradict each "
            "other; bring models and records to one order in both, or leave log_prob out, as it is derived."
        ),
    ),
    ("entropy", (4, 6), 9.0, "entropy[4, 6] is 9, where logits with labels gives"),
    ("modified_entropy", (4, 6), 99.0, "modified_entropy[4, 6] is 99, where logits with labels gives"),
    (
        "population_log_prob",
        (2, 2),
        -9.0,
        "population_log_prob[2, 2] is -9, where population_logits with population_labels gives",
    ),
    (
        "query_log_prob",
        (2, 2, 1),
        -90.0,
        "query_log_prob[2, 2, 1] is -90, where query_logits with labels gives",
    ),
    (
        "embedding_norm",
        (2, 2),
        90.0,
        "embedding_norm[2, 2] is 90, where embedding with embedding_p = 2 gives",
    ),
]

# Of all arrays only member and these are there, and the sentence.
ALONE = {
    "no signal": (
        lambda g: {"labels": g["labels"]},
        "member is there, but nothing that the models say of the records: add logits [K, N, C] with labels",
    ),
    "no labels": (
        lambda g: {"logits": g["logits"]},
        "logits is there without labels: add labels [N], or leave logits out.",
    ),
    "no labels of queries": (
        lambda g: {"query_logits": g["query_logits"]},
        "query_logits is there without labels: add labels [N]",
    ),
    "three models": (
        lambda g: {"member": g["member"][:3], "log_prob": g["log_prob"][:3]},
        "member has shape (3, 7): its first axis is the models, and must have at least 4; train more.",
    ),
    "negative label": (
        lambda g: {"log_prob": g["log_prob"], "labels": marked(7, -1)},
        "labels[0] is -1: labels must be 0 or more; leave records without a label",
    ),
    "negative entropy": (
        lambda g: {"modified_entropy": -g["modified_entropy"]},
        "modified_entropy[0, 0] is -…: it must be 0 or more",
    ),
    "many classes": (
        lambda g: {"labels": g["labels"], "logits": np.full((5, 7, 4), 0.25)},
        "logits[0, 0] is [0.25, 0.25, 0.25, …], which sums to 1 as all rows of model 0 do",
    ),
    "probabilities": (
        lambda g: {"log_prob": np.exp(g["log_prob"])},
        "log_prob[0, 0] is 0.…: a log-probability is at most 0; these look like probabilities, so pass np.log(",
    ),
    "losses": (
        lambda g: {"log_prob": -g["log_prob"]},
        "log_prob[0, 0] is …: a log-probability is at most 0; these look like losses, so pass -log_prob.",
    ),
    "confidences": (
        lambda g: {"scaled_logit": np.exp(g["log_prob"])},
        "scaled_logit[0, 0] is 0.… and all others lie within 0 and 1 as well: these are probabilities p where",
    ),
    "saturated": (
        lambda g: {"log_prob": np.where(np.arange(7) == 3, 0.0, g["log_prob"])},
        (
            "log_prob[0, 3] is 0: its scaled logit would be infinite, …; pass logits with labels or, where "
            "they are lost, np.minimum(log_prob, -1e-7)."
        ),
    ),
    "rounded above 0": (
        lambda g: {"log_prob": np.where(np.arange(7) == 3, 1e-7, g["log_prob"])},
        "log_prob[0, 3] is 1e-07: its scaled logit would be infinite",
    ),
    "saturated population": (
        lambda g: {"log_prob": g["log_prob"], "population_log_prob": marked((5, 4), 0.0)},
        "population_log_prob[0, 0] is 0: its scaled logit would be infinite",
    ),
    "saturated query": (
        lambda g: {"query_log_prob": marked((5, 7, 2), 0.0)},
        "query_log_prob[0, 0, 0] is 0: its scaled logit would be infinite",
    ),
    "two that differ": (
        lambda g: {"log_prob": g["log_prob"][::-1], "scaled_logit": g["scaled_logit"]},
        "log_prob[0, 0] is …, where scaled_logit gives …: the two must not contradict each other",
    ),
}


def assert_refused(arrays, beginning, **options):
    with pytest.raises(ConfigError) as error:
        observations_of(arrays, **options)
    sentence = str(error.value)
    assert re.match(re.escape(beginning).replace("…", ".*"), sentence), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert re.search("[;:] .", sentence)  # what is wrong, then what to do


def test_the_world_itself_is_not_refused(world):
    observations_of(world.arrays)


@pytest.mark.parametrize("case", CHANGED)
def test_changed(world, case):
    change, sentence = CHANGED[case]
    assert_refused(world.but(**change(world.arrays)), sentence)


@pytest.mark.parametrize(("name", "where", "value", "sentence"), ENTRIES)
def test_one_entry(world, name, where, value, sentence):
    assert_refused(world.entry(name, where, value), sentence)


@pytest.mark.parametrize("case", ALONE)
def test_alone(world, case):
    change, sentence = ALONE[case]
    assert_refused(world.only(**change(world.arrays)), sentence)


def test_another_correct(world):
    right = world.arrays["correct"]
    arrays = world.entry("correct", (3, 1), 1 - right[3, 1])
    told = f"correct[3, 1] is {1 - right[3, 1]:g}, where logits with labels gives {right[3, 1]:g}"
    assert_refused(arrays, told)


def test_the_first_of_several_is_named(world):
    arrays = world.entry("entropy", (3, 4), np.nan)
    arrays["entropy"][2, 5] = arrays["entropy"][2, 6] = np.inf
    assert_refused(arrays, "entropy[2, 5] is inf")


@pytest.mark.parametrize("p", [0.5, 0.0, -1.0, np.nan])
def test_a_p_that_gives_no_norm(world, p):
    assert_refused(
        world.arrays, "embedding_p is …: the p of a norm must be at least 1 (inf is allowed)", embedding_p=p
    )


def test_arrays_without_names_are_refused():
    assert_refused([np.zeros((4, 3))], "arrays is a list: it must be a mapping from names to arrays.")
