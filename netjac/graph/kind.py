"""The kind of network that a trace is of: what is compiled for one network serves all of its kind.

A trace goes with its network, and a network may be met once: a JAX function is made anew for every step of a training, a Keras
model for every fold. What takes seconds to compile is therefore kept by the program's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from netjac.graph.key import Key, Recent
from netjac.graph.program import Program

T = TypeVar("T")
_MADE: Recent[Any] = Recent(128)


@dataclass(frozen=True, eq=False)
class Kind:
    """A program without the arrays that it closes over, its identity, and how it is computed: `wide`, with float64 allowed;
    `precision`, that of its matrix products (see `jax.default_matmul_precision`)."""

    program: Program
    identity: Key
    wide: bool
    precision: str | None

    def once(self, place: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once for all networks of this kind: it may hold this, and takes their arrays as arguments."""
        found: T = _MADE.once((self.identity, self.wide, self.precision, place), make)
        return found
