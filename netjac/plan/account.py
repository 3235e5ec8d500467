"""Terms, and the account that steps are written to: what a plan does, and what each of its steps is predicted to take.

A `Stored` term is a factor whose numbers some register will hold; a `Through` term is an opaque equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from netjac.factors.pattern import Pattern
from netjac.factors.product import Product
from netjac.graph.program import Program
from netjac.plan.cost import Rates, nbytes, seconds, sweep_seconds
from netjac.plan.steps import Action, LocalFactor, Seed, Step, Sweep
from netjac.rules.local import Explicit, Opaque


@dataclass(frozen=True)
class Stored:
    register: int
    pattern: Pattern


@dataclass(frozen=True)
class Through:
    equation: int
    operand: int
    result: int
    local: Opaque


Term = Stored | Through


@dataclass
class Account:
    """Collects steps; `width` is the bytes of one number."""

    program: Program
    width: int
    rates: Rates
    steps: list[Step] = field(default_factory=list)
    registers: int = 0
    at: str = ""

    def emit(self, form: str, reads: tuple[Stored, ...], pattern: Pattern, action: Action, operations: int) -> Stored:
        stored = Stored(self.registers, pattern)
        self.append(form, reads, (stored,), action, operations)
        return stored

    def append(
        self, form: str, reads: tuple[Stored, ...], writes: tuple[Stored, ...], action: Action, operations: int
    ) -> None:
        free = form == "relabel" or (isinstance(action, Seed) and not action.pattern.data)
        moved = 0 if free else sum(nbytes(term.pattern, self.width) for term in (*reads, *writes))
        if isinstance(action, Sweep):
            eqn = self.program.equations[action.equation]
            cost = sweep_seconds(self.program, eqn, action.direction, operations, moved, self.rates)
        else:
            cost = 0.0 if free else seconds(form, operations, moved, self.rates)
            if isinstance(action, Product):
                cost += 2 * action.turned * self.width / self.rates.bandwidth
        self.registers += len(writes)
        self.steps.append(
            Step(
                form, self.at, tuple(term.register for term in reads), tuple(term.register for term in writes),
                writes[0].pattern, operations, moved, cost, action,
            )
        )  # fmt: skip

    def local(self, equation: int, operand: int, result: int, local: Explicit) -> Stored:
        eqn = self.program.equations[equation]
        linear = local.numbers is None or eqn.name in ("dot_general", "mul", "neg", "sub", "select_n")
        operations = 0 if linear else local.pattern.entries
        form = "relabel" if local.numbers is None else "factor"
        return self.emit(form, (), local.pattern, LocalFactor(equation, operand, result), operations)

    def seed(self, pattern: Pattern, count: int = 0, side: str = "") -> Stored:
        return self.emit("seed", (), pattern, Seed(pattern, count, side), 0)

    def cheaper(self, *ways: Callable[[], Stored]) -> Stored:
        """By the way that is predicted to take least."""
        return min(ways, key=self.priced)()

    def priced(self, way: Callable[[], object]) -> float:
        """The seconds of the steps that a way would write; none of them is kept."""
        start, registers = len(self.steps), self.registers
        way()
        cost = sum(step.seconds for step in self.steps[start:])
        del self.steps[start:]
        self.registers = registers
        return cost
