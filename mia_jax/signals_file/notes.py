"""What a person should know of their arrays although nothing about them is wrong: one sentence each."""

from __future__ import annotations

import numpy as np

BY_CHANCE = 32
"""Fewer records than this may fall into a pattern without anyone having meant it."""

MANY, FEWEST, APART = 0.005, 5, 3.0
"""From which share and number on, and so many nats below all others, equal log-probabilities are taken for a floor."""


def design(member: np.ndarray, usable: np.ndarray, exclude: np.ndarray | None) -> list[str]:
    """What gives membership away by the way the records were drawn. member: bool [K, N]. exclude: bool [K, K]."""
    notes = []
    num_models, num_records = member.shape
    if num_models > num_records:
        notes.append(
            f"member was read as {num_models} models and {num_records} records: if its rows are the records, "
            "transpose it, and the other arrays likewise."
        )
    sizes = member.sum(axis=1)
    for model in np.flatnonzero(usable & ((sizes == 0) | (sizes == num_records)))[:1]:
        side = "no record" if sizes[model] == 0 else "every record"
        notes.append(
            f"member[{model}] holds {side}: this model counts in what is pooled over models, but has no figures of "
            "its own; leave it out where it is not meant to be a target."
        )
    if num_records < BY_CHANCE:
        return notes
    if (member[usable] == member[usable][0]).all():
        notes.append(
            f"member says the same of all {usable.sum()} models: no record is a member of one and a non-member of "
            "another, so attacks that compare a record's models find nothing; draw each model's records anew."
        )
        return notes
    related = _related(member, usable, exclude)
    counts = member[usable].sum(axis=0)
    if exclude is None and not related and (counts == counts[0]).all():
        notes.append(
            f"member gives every record to exactly {counts[0]} of {usable.sum()} models: what all other models hold "
            "then tells the target's membership, and reference attacks look weaker or stronger than they are; draw "
            "each model's records independently of the others'."
        )
    return notes + related


def classes(labels: np.ndarray, member: np.ndarray, usable: np.ndarray, num_classes: int | None) -> list[str]:
    """Classes without records, and those of which attacks by class know one side only. labels: int [N]."""
    notes = []
    present, place = np.unique(labels, return_inverse=True)
    if num_classes is not None and present.size < num_classes:
        absent = int(np.setdiff1d(np.arange(num_classes), present)[0])
        hint = "; if labels count from 1, pass labels - 1" if absent == 0 else ""
        notes.append(
            f"labels name {present.size} of the {num_classes} classes of the logits, class {absent} is the first of "
            f"which there is no record: nothing is said of such classes; if they should be there, look at how "
            f"labels were encoded{hint}."
        )
    held = member[usable]
    for side, has in (("member", held.any(axis=0)), ("non-member", ~held.all(axis=0))):
        without = np.flatnonzero(np.bincount(place, weights=has) == 0)
        if without.size:
            label = int(present[without[0]])
            notes.append(
                f"labels[{int(np.argmax(labels == label))}] is {label}, a class of which no model has a {side}: "
                f"attacks by class have no threshold for it ({without.size} of {present.size} classes are so); add "
                "records of that class."
            )
    return notes


def floor(log_prob: np.ndarray | None, usable: np.ndarray) -> list[str]:
    """Probabilities of 0 that were lifted to something far below all others. log_prob: [K, N]; None: unknown."""
    if log_prob is None or not usable.any():
        return []
    known = log_prob[usable]
    least = known.min()
    count, above = int((known == least).sum()), known[known > least]
    apart = above.min() - least if above.size else 0.0
    if count < max(FEWEST, MANY * known.size) or apart < APART:
        return []
    return [
        f"{count / known.size:.1%} of log_prob are {least:.4g}, nothing lies within {apart:.3g} above: if that is a "
        "floor under probabilities of 0, the records on it are outliers, and attacks by likelihood ratios look weaker "
        "than they are; take half of the smallest probability above 0."
    ]


def _related(member: np.ndarray, usable: np.ndarray, exclude: np.ndarray | None) -> list[str]:
    """The pairs of references of each other of which one's records tell the other's, as one sentence."""
    seen: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    first = ""
    for model in np.flatnonzero(usable):
        for row, what in ((member[model], "the same records"), (~member[model], "complementary records")):
            other = seen.get(np.packbits(row).tobytes())
            if other is not None and (exclude is None or not exclude[model, other]):
                pairs.append((other, int(model)))
                first = first or what
        seen[np.packbits(member[model]).tobytes()] = int(model)
    if not pairs:
        return []
    (one, two), more = pairs[0], "; ".join(f"{a} and {b}" for a, b in pairs[1:])
    return [
        f"member[{one}] and member[{two}] hold {first}, and each is a reference of the other, whose membership it "
        f"gives away{f' (so do {more})' if more else ''}: add exclude, bool [K, K], True for every such pair, or "
        f"twin, int [K], -1 for models without one, with twin[{one}] = {two} and twin[{two}] = {one}."
    ]
