"""What a layer's own attributes say of what it computes, as something hashable.

Weights are read at every call. All else that a layer was set to (a slope, a mode, a function) goes into its trace, so that a
change of it must be seen: plain values and records of them are compared as such, functions and arrays by which object they
are. Of other objects only the kind is: frameworks keep some that change with every call.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Collection, Hashable
from types import SimpleNamespace
from typing import Any

import numpy as np

from netjac.networks.arrays import framework_of


class Same:
    """An object compared by identity, and not kept alive where it can be referred to weakly."""

    def __init__(self, held: Any) -> None:
        try:
            self.refer: Callable[[], Any] = weakref.ref(held)
        except TypeError:
            self.refer = lambda: held
        self.identity = id(held)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        held = self.refer()
        return isinstance(other, Same) and held is not None and held is other.refer()

    def __hash__(self) -> int:
        return self.identity


def settings(layer: Any, skip: Collection[str], weights: Collection[int] = ()) -> Hashable:
    """The attributes of `layer` but those named, and but arrays of these ids, which are read at every call."""
    return tuple((key, _told(value, weights)) for key, value in vars(layer).items() if key not in skip)


def _told(value: Any, weights: Collection[int]) -> Hashable:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return type(value), value
    if isinstance(value, (tuple, list)):
        return tuple(_told(item, weights) for item in value)
    if isinstance(value, dict):
        return tuple((str(key), _told(item, weights)) for key, item in value.items())
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.shape, value.dtype.str, value.tobytes()
    if id(value) in weights:
        return "weight"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value), tuple(
            (one.name, _told(getattr(value, one.name), weights)) for one in dataclasses.fields(value)
        )
    if isinstance(value, SimpleNamespace):
        return type(value), _told(vars(value), weights)
    if not callable(value) and not hasattr(value, "shape"):
        return (type(value),)
    # torch counts the writes to a tensor; one made in inference mode has no count.
    counted = framework_of(value) == "torch" and hasattr(value, "_version") and not value.is_inference()
    return Same(value), value._version if counted else None
