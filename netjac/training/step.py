"""One try from a point: where a step leads, what it promised, and what came of it."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from netjac.training import functions as pieces
from netjac.training.algebra import move
from netjac.training.damping import Proposal
from netjac.training.problem import Part

BENT = 0.75
"""Most that the second-order part of a step may be of the first, doubled (Transtrum & Sethna, section 3)."""
HELD = 0.1
"""Share of the slope that damping takes up in a step that would be longer without."""


Before = tuple[jax.Array | np.ndarray, ...]
"""What a point's system starts from: the last one's D, and what else its form hands on."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """Where a try led, the loss there, summed, and the fall that its model promised; how far it was, relative to the
    parameters, and whether it was so short because it was damped. A step that is not finite has an infinite loss.
    `forecasts` are the falls by JᵀHJ and with what that leaves out, of which `promised` is one."""

    theta: jax.Array
    value: float
    promised: float
    distance: float
    held_back: bool
    forecasts: tuple[float, float]

    @classmethod
    def of(cls, theta: jax.Array, numbers: Any, value: Any = None) -> Attempt:
        """With what `move` tells and the loss, its last number where it is not given: waited for once."""
        promised, distance, held, *last = np.asarray(numbers).tolist()
        value = last[0] if value is None else value
        return cls.told(theta, value, distance, held, promised, (promised, promised))

    @classmethod
    def told(
        cls, theta: jax.Array, value: float, distance: float, held: float, promised: float, both: tuple[float, float]
    ) -> Attempt:
        finite = np.isfinite(promised) and np.isfinite(value)
        return cls(theta, value if finite else np.inf, promised, distance, held > HELD, both)


class System(abc.ABC):
    """The linear system of one point. `value` is the loss there, summed; `gradient` the largest entry of its gradient, in
    magnitude; `handed` what the next point's system starts from."""

    form: ClassVar[str]
    value: float
    gradient: float
    handed: Before

    @abc.abstractmethod
    def __init__(self, part: Part, theta: jax.Array, before: Before | None, scaled: bool) -> None:
        """At `theta`, after another point's."""

    @classmethod
    def start(cls, part: Part, theta: jax.Array) -> jax.Array:
        """Where the first point is, of a fit that begins at `theta`: no worse than that."""
        return theta

    @abc.abstractmethod
    def attempt(self, proposal: Proposal, accelerated: bool) -> Attempt:
        """The step with (JᵀHJ + damping · D) δ = −g, taken times `length`."""


@dataclass(frozen=True, eq=False)
class Force:
    """What pushes the parameters: u at the outputs (None where several runs made g), and g = Jᵀu."""

    g: jax.Array
    u: jax.Array | None = None


class Solving(System):
    """One that is solved for any force."""

    part: Part
    theta: jax.Array
    force: Force
    D: jax.Array

    @property
    def handed(self) -> Before:  # type: ignore[override]
        return (self.D,)

    @abc.abstractmethod
    def solve(self, force: Force, damping: float) -> jax.Array:
        """(JᵀHJ + damping · D)⁻¹ g, (M,) in float64."""


def attempted(system: Solving, proposal: Proposal, accelerated: bool) -> Attempt:
    """A try by `solve`, call by call: where samples come in several runs, and where steps are bent."""
    damping = proposal.damping
    v = -system.solve(system.force, damping)
    bend = _bend(system, damping, v) if accelerated else jnp.zeros_like(v)
    theta, numbers = move(system.theta, system.force.g, v, bend, system.D, damping, proposal.length)
    return Attempt.of(theta, numbers, system.part.value(theta))


def _bend(system: Solving, damping: float, v: jax.Array) -> jax.Array:
    """Half the geodesic acceleration at v, none where it is too large to be trusted."""
    found = list(system.part.each(pieces.bent, system.theta, v))
    u = found[0][0] if len(found) == 1 else None
    a = -system.solve(Force(sum((g for _, g in found[1:]), found[0][1]), u), damping)
    return _trusted(a, v, system.D)


@jax.jit
def _trusted(a: jax.Array, v: jax.Array, D: jax.Array) -> jax.Array:
    length, size = jnp.sum(D * a * a), jnp.sum(D * v * v)
    return jnp.where(jnp.isfinite(length) & (2 * jnp.sqrt(length) <= BENT * jnp.sqrt(size)), 0.5 * a, 0.0)
