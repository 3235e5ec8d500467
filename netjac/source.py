"""Where a Jacobian's numbers come from: what can be asked of a network and its plan, or of an array that is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from netjac.plan.plan import Plan
from netjac.structure import Structure
from netjac.vectors import Sides

Halves = tuple[np.ndarray, np.ndarray]
"""(…, m, r) and (…, r, n), whose product is J; r is the width of a value that all of J passes."""


class Source(Protocol):
    """What `netjac.operator.Jacobian` is made from. Sweeps take and give blocks (k, batch, …)."""

    @property
    def context(self) -> Any:
        """The request behind it; None for numbers that are only held."""

    def structure(self) -> Structure: ...

    def plan(self) -> Plan | None: ...

    def array(self) -> jax.Array: ...

    def can(self, direction: str) -> bool: ...

    def sweep(self, direction: str, block: jax.Array) -> jax.Array: ...

    def sparse(self, sample: int | None) -> scipy.sparse.csr_array | None: ...

    def halves(self) -> Halves | None: ...


@dataclass(frozen=True, eq=False)
class Held:
    """An array that is there already, and nothing else."""

    told: Structure
    held: jax.Array
    context: Any = None

    def structure(self) -> Structure:
        return self.told

    def plan(self) -> Plan | None:
        return None

    def array(self) -> jax.Array:
        return self.held

    def can(self, direction: str) -> bool:
        return False

    def sweep(self, direction: str, block: jax.Array) -> jax.Array:
        raise TypeError(f"an array that is held has no {direction} of its own")

    def sparse(self, sample: int | None) -> scipy.sparse.csr_array | None:
        return None

    def halves(self) -> Halves | None:
        return None


@dataclass(frozen=True, eq=False)
class Picked:
    """Some of the samples of another source, or one. `entries` are those of all samples."""

    whole: Source
    sides: Sides
    chosen: np.ndarray
    entries: Callable[[], jax.Array]

    @property
    def context(self) -> Any:
        return self.whole.context

    def structure(self) -> Structure:
        return self.whole.structure()

    def plan(self) -> Plan | None:
        return self.whole.plan()

    def array(self) -> jax.Array:
        return self.entries()[self.chosen]

    def can(self, direction: str) -> bool:
        return self.whole.can(direction)

    def sweep(self, direction: str, block: jax.Array) -> jax.Array:
        """The other samples are given zeros and left out."""
        rows = jnp.atleast_1d(self.chosen)
        if self.sides.shared and direction == "push":
            return self.whole.sweep(direction, block)[:, self.chosen]
        given = block[:, None] if np.ndim(self.chosen) == 0 else block
        full = jnp.zeros((block.shape[0], self.sides.batch, *given.shape[2:]), block.dtype).at[:, rows].set(given)
        return self.whole.sweep(direction, full)[:, self.chosen]

    def sparse(self, sample: int | None) -> scipy.sparse.csr_array | None:
        return self.whole.sparse(int(self.chosen)) if np.ndim(self.chosen) == 0 else None

    def halves(self) -> Halves | None:
        found = self.whole.halves()
        return None if found is None else (found[0][self.chosen], found[1][self.chosen])
