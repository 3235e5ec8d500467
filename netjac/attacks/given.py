"""What an attack is given: samples, classes, bounds. All of it is looked at before any work is done, and none is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netjac.errors import NonFiniteError, NotDifferentiableError, RangeError, ShapeError
from netjac.networks.arrays import framework_of, to_numpy
from netjac.scale.feed import cut

Bounds = tuple[Any, Any] | None

# Samples looked at together before the attack.
LOOKED = 4096


@dataclass(frozen=True, eq=False)
class Given:
    """N samples, which may lie on disk; `labels` and `targets` (N,) or None; `low` and `high`, each (*in) in X's dtype."""

    samples: Any
    labels: np.ndarray | None
    targets: np.ndarray | None
    low: np.ndarray
    high: np.ndarray

    @property
    def count(self) -> int:
        return int(self.samples.shape[0])

    def run(self, start: int, stop: int) -> np.ndarray:
        found = cut(self.samples, start, stop)
        assert isinstance(found, np.ndarray)
        return found

    def clipped(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, self.low, self.high)


def given(X: Any, y: Any, targets: Any, bounds: Bounds) -> Given:
    """Raises `ShapeError`, `RangeError` and `NonFiniteError`, naming argument, sample and entry."""
    if isinstance(X, Mapping):
        if len(X) != 1:
            raise ShapeError(f"X has the inputs {', '.join(map(repr, X))}; attacks perturb the input of one")
        X = next(iter(X.values()))
    samples = X if hasattr(X, "shape") and hasattr(X, "__getitem__") else np.asarray(X)
    if len(samples.shape) < 2:
        raise ShapeError(f"X is of shape {tuple(samples.shape)}; give (samples, …), a single sample as X[None]")
    if not samples.shape[0]:
        raise ShapeError("X has no samples: its axis 0 is empty")
    first = cut(samples, 0, 1)
    assert isinstance(first, np.ndarray)
    if not np.issubdtype(first.dtype, np.floating) and str(first.dtype) != "bfloat16":
        raise NotDifferentiableError(f"X is of {first.dtype}, which has no small changes; give floating-point numbers")
    low, high = _bounds(bounds, first)
    made = Given(samples, _classes("y", y, samples), _classes("targets", targets, samples), low, high)
    if made.labels is not None and made.targets is not None and (same := made.labels == made.targets).any():
        at = int(np.argmax(same))
        raise RangeError(f"targets[{at}] is {made.targets[at]}, the sample's own label; give a class to change to")
    for start, x in _looked(made):
        _refuse_outside(x, made, start)
    return made


def _looked(made: Given) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, made.count, LOOKED):
        yield start, made.run(start, min(start + LOOKED, made.count))


def refuse_classes(made: Given, classes: int) -> None:
    """Labels and targets are classes of the model. Raises `RangeError`."""
    for name, values in (("y", made.labels), ("targets", made.targets)):
        if values is None:
            continue
        wrong = (values < 0) | (values >= classes)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise RangeError(
                f"{name}[{at}] is {values[at]}, and the model's {classes} classes are numbered 0 to {classes - 1} "
                f"({int(wrong.sum())} of {len(values)} are out of range)"
            )


def _classes(name: str, values: Any, samples: Any) -> np.ndarray | None:
    if values is None:
        return None
    count = int(samples.shape[0])
    array = to_numpy(values) if framework_of(values) != "numpy" else np.asarray(values)
    if array.ndim == 0 and name == "targets":
        array = np.broadcast_to(array, (count,))
    if array.shape != (count,):
        rows = array.ndim == 2 and len(array) == count
        hint = (
            (
                "; of one column, give it as [:, 0]"
                if array.shape[1] == 1
                else "; of one-hot rows, give their argmax(-1)"
            )
            if rows
            else ""
        )
        raise ShapeError(
            f"{name} is of shape {array.shape}; give ({count},), the number of a class for each sample{hint}"
        )
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.round(array)).all()))
    if not whole:
        raise ShapeError(
            f"{name} holds {array.dtype} that are no whole numbers; give the number of a class for each sample"
        )
    far = np.abs(array.astype(np.float64)) >= 2.0**31  # what wraps around would be another class
    if far.any():
        raise RangeError(
            f"{name}[{int(np.argmax(far))}] is {array[far][0]}, which is no class; give the number of a class"
        )
    return array.astype(np.int32)


def _bounds(bounds: Bounds, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape, dtype = first.shape[1:], first.dtype
    if bounds is None:
        return np.full(shape, -np.inf, dtype), np.full(shape, np.inf, dtype)
    if not isinstance(bounds, tuple | list) or len(bounds) != 2 or any(b is None for b in bounds):
        raise ShapeError(f"bounds={bounds!r} is no pair; give (low, high), numbers or arrays of shape {shape}, or None")
    try:
        low, high = (np.broadcast_to(np.asarray(to_numpy(b), dtype), shape) for b in bounds)
    except ValueError as error:
        raise ShapeError(
            f"bounds do not fit a sample of shape {shape} ({error}); give numbers, or arrays of it"
        ) from error
    if np.isnan(low).any() or np.isnan(high).any() or (low > high).any():
        raise RangeError("bounds=(low, high) has an entry with low above high, or NaN; give low ≤ high everywhere")
    return low, high


def _refuse_outside(x: np.ndarray, made: Given, start: int) -> None:
    finite = np.isfinite(x).all()
    if finite and ((x >= made.low) & (x <= made.high)).all():
        return
    if not finite:
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise NonFiniteError(f"X holds {x[at]} at index {(at[0] + start, *at[1:])}; remove or replace it")
    excess = np.maximum(made.low - x, x - made.high)
    worst = int(np.argmax(excess))
    at = tuple(int(i) for i in np.unravel_index(worst, x.shape))
    low, high = made.low[at[1:]], made.high[at[1:]]
    raise RangeError(
        f"X[{', '.join(map(str, (at[0] + start, *at[1:])))}] is {x[at]:g}, outside bounds [{low:g}, {high:g}] by "
        f"{excess[at]:.3g} ({int((excess > 0).sum())} entries are outside); give the bounds that X keeps to, or clip it"
    )
