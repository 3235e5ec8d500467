"""The steps of a plan: plain data, each saying what it reads, what it writes, how, and at what predicted cost.

Registers are numbered; each holds the numbers of one factor, whose pattern the step that wrote it knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from netjac.factors.addition import Addition
from netjac.factors.pattern import Pattern
from netjac.factors.product import Product
from netjac.factors.refine import Split, Untie, Whole
from netjac.factors.selection import Alive, Pick
from netjac.factors.taps import Banded, Joined, Placed
from netjac.factors.window import Read


@dataclass(frozen=True)
class Seed:
    """The numbers of an identity restricted to some rows or columns: None for the whole identity, which has none.

    `start` says that the first row or column is given when the plan runs; `count` of them are taken.
    """

    pattern: Pattern
    count: int
    side: str


@dataclass(frozen=True)
class LocalFactor:
    """The numbers of an equation's local Jacobian, by the places of its operand and result: explicit, or written out."""

    equation: int
    operand: int
    result: int


@dataclass(frozen=True)
class Sweep:
    """A block of cotangents pulled (or of tangents pushed) through an equation by the primitive's own derivative.

    `block` is the pattern of the block at the equation's near side; `basis` are the labels of the vectors in it;
    `near` and `far` are places of operands and results: a pull has its one result near and operands far.
    """

    direction: str
    equation: int
    near: int
    far: tuple[int, ...]
    block: Pattern
    basis: tuple[int, ...]
    results: tuple[Pattern, ...]


Action = (
    Seed
    | LocalFactor
    | Sweep
    | Product
    | Addition
    | Untie
    | Whole
    | Split
    | Read
    | Banded
    | Joined
    | Placed
    | Alive
    | Pick
)


@dataclass(frozen=True)
class Step:
    """One line of a plan.

    `form`: relabel, scale, sum, product, add, untie, read, band, join, place, alive, pick, or pull/push and the primitive.
    `at`: the value eliminated. `moved`: bytes read and written. Operations count a multiplication and an addition as one
    each.
    """

    form: str
    at: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    pattern: Pattern
    operations: int
    moved: int
    seconds: float
    action: Action
