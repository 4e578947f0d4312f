"""The finished segments of one family on disk: what is there, what is left to do, what was said.

A segment exists once its commit record does, which holds the checksums of all it wrote. Whatever
order writes stop in, what has no record is done again, and nothing else is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from mia_jax.blocks import blocks_of, whole
from mia_jax.defences.parameters import path_of
from mia_jax.runs.identity import RunError
from mia_jax.runs.store import Store, checksum, piece_of
from mia_jax.training import Segment, TrainState
from mia_jax.types import Params, Signals

PARTS = {"pool": Signals._fields, "population": Signals._fields, "test": ("log_prob", "correct")}
"""The signals that are kept of each part of the data."""

_ENTRIES = {"parameters": "parameters", "states": "state"}
"""What a commit record calls the checksum of an entry of each room."""


class Place(NamedTuple):
    """Where a segment belongs: models start…stop-1 at a checkpoint's number."""

    start: int
    stop: int
    checkpoint: int

    def entry(self, room: str, family: str) -> str:
        """The name of the segment's entry in commits, states or parameters."""
        suffix = "json" if room == "commits" else "npz"
        return f"{room}/{family}/{self.start:06d}-{self.stop:06d}/{self.checkpoint:04d}.{suffix}"


class Segments:
    """One family's segments. hash: of all that decides its numbers. parameters: "none", "final" or "all"."""

    def __init__(
        self, store: Store, family: str, *, hash: str, num_models: int, num_checkpoints: int, parameters: str
    ) -> None:
        self._store, self._family, self._hash = store, family, hash
        self._models, self._last = num_models, num_checkpoints - 1
        self._parameters = parameters
        self._whole: list[tuple[int, int]] = []
        self._opened: dict[str, Any] = {}
        self._read_from: dict[str, Any] = {}
        names = store.names(f"commits/{family}/")
        self._commits: dict[Place, dict[str, Any]] = dict(
            zip(map(_place, names), store.require_jsons(names), strict=True)
        )
        self._check()

    def write(self, segment: Segment, *, models_per_chunk: int, session: int) -> None:
        """Write a finished segment; session: the number of the training's start, for the record."""
        place = Place(segment.start, segment.stop, segment.checkpoint)
        arrays = dict(_observed_arrays(segment))
        wrong = sorted(name for name, values in arrays.items() if len(values) != place.stop - place.start)
        if wrong:
            raise ValueError(
                f"{wrong[0]} of models {place.start} to {place.stop - 1} holds {len(arrays[wrong[0]])} models: it must "
                f"hold {place.stop - place.start}."
            )
        # Everything is under way before anything is waited for: a disk that makes sure of each takes its time.
        entries = {
            room: self._store.begin_arrays(place.entry(room, self._family), leaves)
            for room, leaves in self._kept(segment).items()
        }
        blocks = self._store.begin_blocks(
            (self._array(name, values, models_per_chunk), *place[:3], values)
            for name, values in arrays.items()
        )
        record: dict[str, Any] = {
            "hash": self._hash,
            "session": session,
            "checksums": {name: _checked(values) for name, values in arrays.items()},
        }
        record |= {_ENTRIES[room]: finish() for room, finish in entries.items()}
        blocks()
        self._store.write_json(place.entry("commits", self._family), record)
        self._commits[place] = record
        self._whole = []
        if place.checkpoint:
            before = place._replace(checkpoint=place.checkpoint - 1)
            self._store.delete(before.entry("states", self._family))

    def _kept(self, segment: Segment) -> dict[str, dict[str, np.ndarray]]:
        """What is kept of a segment beside its signals, by room: parameters, and a state to go on from."""
        kept, last = {}, segment.checkpoint == self._last
        if self._parameters == "all" or (self._parameters == "final" and last):
            kept["parameters"] = _named_leaves(segment.state.params)
        if not last:
            kept["states"] = _leaves(segment.state)
        return kept

    def chunks(self, size: int) -> list[tuple[int, int]]:
        """All chunks of models, start and stop: those that were begun, the gaps cut by `size`."""
        begun: list[tuple[int, int]] = []
        # Two jobs at once may have cut differently: where chunks overlap, the one that is further stays.
        for start, stop in sorted({p[:2] for p in self._commits}, key=lambda c: (self.segments_left(*c), c)):
            if all(stop <= first or last <= start for first, last in begun):
                begun.append((start, stop))
        begun.sort()
        chunks: list[tuple[int, int]] = []
        covered = 0
        for start, stop in [*begun, (self._models, self._models)]:
            chunks += [(first, min(first + size, start)) for first in range(covered, start, size)]
            chunks += [(start, stop)] * (start < stop)
            covered = stop
        return chunks

    def segments_left(self, start: int, stop: int) -> int:
        """How many segments of a chunk are still to do."""
        return self._last - self._finished(start, stop)

    def models_finished(self) -> int:
        """How many of the K models are finished."""
        begun = {place[:2] for place in self._commits}
        finished = [range(*models) for models in begun if not self.segments_left(*models)]
        return len(set().union(*finished))

    def resume(self, start: int, stop: int) -> tuple[int, list[np.ndarray]] | None:
        """The checkpoint up to which a chunk is finished and its state's leaves; None to begin anew.

        A state that is missing or damaged costs its chunk's work, which is then done again.
        """
        done = self._finished(start, stop)
        if done in (-1, self._last):
            return None if done < 0 else (done, [])
        place = Place(start, stop, done)
        state = self._store.read_arrays(place.entry("states", self._family), self._commits[place]["state"])
        return None if state is None else (done, list(state.values()))

    def signal(
        self, name: str, checkpoint: int, *, models: slice = slice(None), records: slice = slice(None)
    ) -> np.ndarray:
        """One signal of some models and records (default: all) at one checkpoint, checked: [K', N', …].

        name: "pool/log_prob", …. Little more is read than the models and records asked for. `RunError` where
        it is damaged, or was not recorded.
        """
        first, last = whole(models, self._models)
        found: np.ndarray | None = None
        for start, stop in self._finished_chunks():
            low, high = max(first, start), min(last, stop)
            if low >= high:
                continue
            values = self._read(name, Place(start, stop, checkpoint), low - start, high - start, records)
            if found is None:
                found = np.empty((last - first, *values.shape[1:]), values.dtype)
            found[low - first : high - first] = values
        if found is None:
            raise ValueError(f"models is {models}: it must name one of the {self._models} models at least.")
        return found

    def _read(self, name: str, place: Place, first: int, last: int, records: slice) -> np.ndarray:
        """The segment's models first…last-1 and some records of one signal, checked: [M', N', …] (`RunError`)."""
        where = f"signals/{self._family}/{name}"
        if name not in self._read_from:
            self._read_from[name] = self._store.open_array(where)
        array, kept = self._read_from[name], self._commits[place]["checksums"].get(name)
        if kept is None:
            raise self._damaged(name, place)
        low, high = whole(records, array.shape[2])
        height, width = kept["piece"]
        top, bottom = _outwards(first, last, height, place.stop - place.start)
        left, right = _outwards(low, high, width, array.shape[2])
        values = self._store.read_block(
            where,
            place.start + top,
            place.start + bottom,
            place.checkpoint,
            records=slice(left, right),
            array=array,
        )
        rows = range(top // height, top // height + -(-(bottom - top) // height))
        columns = range(left // width, left // width + -(-(right - left) // width))
        same = [kept["crc32"][row][column] for row in rows for column in columns]
        if checksums(values, (height, width)) != same:
            raise self._damaged(name, place)
        return values[first - top : last - top, low - left : high - left]

    def _damaged(self, name: str, place: Place) -> RunError:
        """That a signal of a segment is not what was recorded."""
        return RunError(
            f"{self._store.address}/signals/{self._family}/{name} is damaged for models {place.start} to "
            f"{place.stop - 1}: delete {self._store.address}/commits/{self._family}/"
            f"{place.start:06d}-{place.stop:06d} and run the training again to restore it."
        )

    def parameters(self, checkpoint: int, like: Params) -> Params:
        """The parameters of all K models at one checkpoint, checked: a pytree like `like`, NumPy [K, …].

        like: one model's parameters, or their shapes. `RunError` where none were kept, or other ones.
        """
        paths = jax.tree_util.tree_leaves_with_path(like)
        wanted = {path_of(path): tuple(leaf.shape) for path, leaf in paths}
        blocks = [self._kept_parameters(Place(*models, checkpoint)) for models in self._finished_chunks()]
        for found in blocks:
            if {name: values.shape[1:] for name, values in found.items()} != wanted:
                raise RunError(
                    f"{self._store.address}/parameters/{self._family} are of another model: it has {sorted(wanted)}, "
                    f"and kept were {sorted(found)}."
                )
        whole = [np.concatenate([found[name] for found in blocks]) for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(like), whole)

    def _kept_parameters(self, place: Place) -> dict[str, np.ndarray]:
        """The parameters [M, …] of a chunk at a checkpoint, by path (`RunError`)."""
        entry = place.entry("parameters", self._family)
        kept = self._commits[place].get("parameters")
        if kept is None:
            raise RunError(
                f"{self._store.address} holds no parameters of family {self._family} at checkpoint {place.checkpoint}: "
                'train with config.recording.parameters="final" ("all": at every checkpoint).'
            )
        found = self._store.read_arrays(entry, kept)
        if found is None:
            raise RunError(
                f"{self._store.address}/{entry} is missing or damaged: delete {self._store.address}/commits/"
                f"{self._family}/{place.start:06d}-{place.stop:06d} and run the training again to restore it."
            )
        return found

    def recorded(self, checkpoint: int) -> set[str]:
        """The names of the signals that `signal` gives at a checkpoint (`RunError` before all K models are)."""
        chunks = self._finished_chunks()
        return set.intersection(
            *(set(self._commits[Place(*models, checkpoint)]["checksums"]) for models in chunks)
        )

    def check_complete(self) -> None:
        """Refuse to read a family whose training is not finished (`RunError`)."""
        self._finished_chunks()

    def _finished_chunks(self) -> list[tuple[int, int]]:
        """The chunks of all K models, in order; refused where any is not finished (`RunError`)."""
        if not self._whole:
            # Every model once: a chain of finished chunks from the first to the last.
            chains: dict[int, list[tuple[int, int]]] = {0: []}
            for start, stop in sorted({place[:2] for place in self._commits}):
                if start in chains and stop not in chains and self._finished(start, stop) == self._last:
                    chains[stop] = [*chains[start], (start, stop)]
            if self._models not in chains:
                raise RunError(
                    f"{self._store.address} holds {self.models_finished()} of {self._models} finished models of family "
                    f"{self._family}: run scripts/train.py with the same config and workdir first."
                )
            self._whole = chains[self._models]
        return self._whole

    def _finished(self, start: int, stop: int) -> int:
        """The last checkpoint up to which every one of a chunk is committed, -1 for none."""
        checkpoints = range(self._last + 1)
        return next((t - 1 for t in checkpoints if Place(start, stop, t) not in self._commits), self._last)

    def _check(self) -> None:
        """Refuse commits of another making, and models beyond K (`RunError`)."""
        remedy = "use another --workdir, or --overwrite to delete what is there."
        for place, record in self._commits.items():
            if record.get("hash") != self._hash:
                raise RunError(
                    f"{self._store.address}/commits/{self._family} records models {place.start} to {place.stop - 1} of "
                    f"another run: {remedy}"
                )
            if place.stop > self._models:
                raise RunError(
                    f"{self._store.address} holds another run: config.membership.num_models is {self._models} here, "
                    f"and {place.stop} models of family {self._family} were begun there (it may only grow); {remedy}"
                )

    def _array(self, name: str, values: np.ndarray, models_per_chunk: int) -> Any:
        """The array [K, T, …] that blocks like `values` [M, …] belong to."""
        if name not in self._opened:
            shape = (self._models, self._last + 1, *values.shape[1:])
            place = f"signals/{self._family}/{name}"
            self._opened[name] = self._store.array(
                place, shape, values.dtype, models_per_chunk=models_per_chunk
            )
        return self._opened[name]


def checksums(values: np.ndarray, piece: tuple[int, int]) -> list[int]:
    """The checksums of a block [M, N, …] in pieces of so many models and records, one row of pieces after another."""
    return [
        checksum(values[rows, columns])
        for rows in blocks_of(values.shape[0], piece[0])
        for columns in blocks_of(values.shape[1], piece[1])
    ]


def _checked(values: np.ndarray) -> dict[str, Any]:
    """What a commit record says of a signal [M, N, …]: the size of its pieces, and the checksums of each row."""
    piece = piece_of(values.shape[0], values.shape[1], math.prod(values.shape[2:]))
    rows = [checksums(values[rows], piece) for rows in blocks_of(values.shape[0], piece[0])]
    return {"piece": piece, "crc32": rows}


def _outwards(first: int, last: int, step: int, size: int) -> tuple[int, int]:
    """The pieces of `step` that hold first…last-1 of `size` things: from where to where they reach."""
    return first // step * step, min(-(-last // step) * step, size)


def _observed_arrays(segment: Segment) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a segment by their names below signals/FAMILY/."""
    observed = segment.observed
    for part, fields in PARTS.items():
        signals = getattr(observed, part)
        for field in fields:
            yield f"{part}/{field}", np.asarray(getattr(signals, field))
    yield "pool/last_seen", np.asarray(observed.last_seen)
    for part, logits in observed.logits.items():
        yield f"{part}/logits", np.asarray(logits)
    for name, values in observed.probed.items():
        yield f"pool/{name}", np.asarray(values)


def _place(entry: str) -> Place:
    """Where the segment of a commit's entry belongs."""
    models, checkpoint = entry.removesuffix(".json").split("/")[-2:]
    start, stop = (int(part) for part in models.split("-"))
    return Place(start, stop, int(checkpoint))


def _leaves(state: TrainState) -> dict[str, np.ndarray]:
    """A state's leaves in their order."""
    return {f"{number:05d}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}


def _named_leaves(params: Any) -> dict[str, np.ndarray]:
    """Parameters by their path in the tree."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    return {path_of(path): np.asarray(leaf) for path, leaf in paths}
