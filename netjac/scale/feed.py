"""Samples in runs of one size, whether they lie in arrays or come batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from netjac.errors import ShapeError
from netjac.networks.arrays import to_numpy

Samples = np.ndarray | dict[str, np.ndarray]


def count(x: Samples) -> int:
    """How many samples there are. Raises `ShapeError` where several inputs disagree."""
    arrays = list(x.values()) if isinstance(x, dict) else [x]
    if any(array.ndim == 0 for array in arrays):
        raise ShapeError("axis 0 must count samples, and a single number was given; give arrays of shape (samples, …)")
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ShapeError(f"the inputs disagree about the number of samples: {sorted(lengths)}")
    return lengths.pop()


def cut(x: Any, start: int, stop: int) -> Samples:
    """A run of samples in main memory, of arrays that may lie on disk."""
    if isinstance(x, Mapping):
        return {name: to_numpy(array[start:stop]) for name, array in x.items()}
    return to_numpy(x[start:stop])


def is_arrays(batches: Any) -> bool:
    """An array (NumPy, memory map, Zarr, torch, …), or a dict of them by input: anything that knows its shape."""
    values = batches.values() if isinstance(batches, Mapping) else [batches]
    return all(hasattr(value, "shape") and hasattr(value, "__getitem__") for value in values)


@dataclass
class Lying:
    """Samples that can be cut anywhere."""

    arrays: Any

    @property
    def total(self) -> int | None:
        arrays = list(self.arrays.values()) if isinstance(self.arrays, Mapping) else [self.arrays]
        lengths = {array.shape[0] if array.shape else 0 for array in arrays}
        if len(lengths) != 1:
            raise ShapeError(f"the inputs disagree about the number of samples: {sorted(lengths)}")
        return int(lengths.pop())

    def first(self) -> Samples:
        """The first sample alone. Raises `ShapeError` when there is none."""
        if not self.total:
            raise ShapeError("there are no samples: axis 0 of the data is empty")
        return cut(self.arrays, 0, 1)

    def runs(self, size: int) -> Iterator[Samples]:
        assert self.total is not None
        for start in range(0, self.total, size):
            yield cut(self.arrays, start, min(start + size, self.total))


class Coming:
    """Samples in batches of any sizes, met once."""

    total: int | None = None

    def __init__(self, batches: Iterable[Any]) -> None:
        try:
            iterator = iter(batches)
        except TypeError:
            raise ShapeError(
                f"batches={type(batches).__name__} is neither an array nor something that gives arrays one by one"
            ) from None
        self._rest = map(_whole, iterator)
        self._head = next((batch for batch in self._rest if count(batch)), None)
        if self._head is None:
            raise ShapeError("there are no samples: no batch came, or empty ones alone")

    def first(self) -> Samples:
        """The first sample alone."""
        return cut(self._head, 0, 1)

    def runs(self, size: int) -> Iterator[Samples]:
        waiting: list[Samples] = []
        held = 0
        for batch in chain([self._head], self._rest):
            assert batch is not None
            waiting.append(batch)
            held += count(batch)
            while held >= size:
                whole = joined(waiting)
                yield cut(whole, 0, size)
                waiting, held = [cut(whole, size, held)], held - size
        if held:
            yield joined(waiting)


def feed(batches: Any) -> Lying | Coming:
    """What `netjac.stream` is given, as samples in runs. Raises `ShapeError`."""
    return Lying(batches) if is_arrays(batches) else Coming(batches)


def _whole(batch: Any) -> Samples:
    """A copy: whoever gives the batches may fill one buffer again and again, and several are held at a time."""
    if isinstance(batch, Mapping):
        return {name: np.array(to_numpy(array)) for name, array in batch.items()}
    if not is_arrays(batch):
        raise ShapeError(
            f"a batch came as a {type(batch).__name__}; each must be one array of inputs, or a dict of arrays by input name"
        )
    return np.array(to_numpy(batch))


def joined(parts: list[Samples]) -> Samples:
    """Samples one after another. Raises `ShapeError`."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    try:
        if isinstance(first, dict):
            return {name: np.concatenate([part[name] for part in parts]) for name in first}
        return np.concatenate(parts)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ShapeError(
            f"two batches do not fit together ({error}); all must have the same inputs and shapes"
        ) from error
