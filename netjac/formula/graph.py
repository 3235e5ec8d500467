"""The values between input and output, and what each equation's local Jacobian is called."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

from netjac.graph.preactivation import dependent
from netjac.graph.program import Equation, Program
from netjac.pieces import setting_of
from netjac.plan.account import Stored
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.terms import Writer
from netjac.precision import precise
from netjac.structure import owners
from netjac.tracing import Point

SAME = frozenset({"name", "add", "add_any", "sub", "copy", "copy_p", "convert_element_type", "optimization_barrier"})
KEEPS_ORDER = frozenset({"reshape", "squeeze", "expand_dims", "broadcast_in_dim"})
MOVES = frozenset({"reshape", "transpose", "squeeze", "expand_dims", "rev", "broadcast_in_dim", "slice", "pad",
                   "concatenate", "gather", "dynamic_slice", "split"})  # fmt: skip
POOLING = ("reduce_window", "reduce_max", "reduce_min", "select_and", "reduce_sum", "argmax")


@dataclass(eq=False)
class Graph:
    """The linearised graph between one value and another, those values left out that no path passes."""

    point: Point
    source: int
    sink: int
    named: dict[Hashable, str] = field(default_factory=dict)
    """The activations that were told by what they compute, by how they are written."""

    @property
    def program(self) -> Program:
        return self.point.traced.program

    @cached_property
    def edges(self) -> Edges:
        program = self.program
        setting = setting_of(self.point, self.sink)
        with precise(self.point.wide):
            writer = Writer(program, setting.width, setting.rates)
            question = Question((self.source,), (self.sink,))
            return Edges(Linearised(program), question, writer, per_sample=False)

    @cached_property
    def below(self) -> dict[int, list[int]]:
        """Value → the values it is computed from, on paths from the source to the sink."""
        last, kept = len(self.program.types), set()
        waiting = [self.sink]
        while waiting:
            value = waiting.pop()
            if value in kept or value == self.source:
                continue
            kept.add(value)
            waiting += [t for t, terms in self.edges.below.get(value, {}).items() if t >= 0 and terms]
        found: dict[int, list[int]] = {self.source: []}
        for value in sorted(kept, key=self.order):
            tails = [t for t, terms in self.edges.below.get(value, {}).items() if 0 <= t < last and terms]
            tails = [t for t in tails if t in found]
            if tails:
                found[value] = tails
        return found

    @cached_property
    def _places(self) -> dict[int, int]:
        values = (*self.program.inputs, *(r for eqn in self.program.equations for r in eqn.results))
        return {value: place for place, value in enumerate(values)}

    def order(self, value: int) -> int:
        """Where a value comes in the order of evaluation."""
        return self._places.get(value, -1)

    @cached_property
    def owners(self) -> dict[int, str]:
        return owners(self.point)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Layer → its class."""
        return self.point.network.layer_kinds()

    @cached_property
    def moving(self) -> set[int]:
        """The values that depend on an input of the network."""
        return dependent(self.program, set(self.point.traced.inputs.values()))

    def equation(self, value: int) -> Equation:
        return self.program.equations[self.program.producer[value]]

    def kind(self, tail: int, head: int) -> str:
        """What the local Jacobian of one equation is."""
        eqn, program = self.equation(head), self.program
        same = program.shape(tail) == program.shape(head)
        if eqn.operands.count(tail) == 1 and same and eqn.name in (*SAME, "neg"):
            return "negation" if eqn.name == "neg" or (eqn.name == "sub" and eqn.operands[1] == tail) else "same"
        if self._keeps_order(tail, head):
            return "same"
        if eqn.name in ("dot_general", "conv_general_dilated"):
            others = [n for n in eqn.operands if n != tail]
            if others and tail not in self.moving and others[0] in self.moving:
                return "outer"
            fixed = bool(others) and not any(n in self.moving for n in others)
            return ("weight" if eqn.name == "dot_general" else "convolution") if fixed else "partial"
        if eqn.name in MOVES:
            return "rearrangement"
        if self.is_diagonal(tail, head):
            return "activation"
        return "pooling" if eqn.name.startswith(POOLING) else "partial"

    def _keeps_order(self, tail: int, head: int) -> bool:
        """Whether the entries, in row-major order, stay as they are: axes come, go or change places, of one entry each."""
        eqn, program = self.equation(head), self.program
        if eqn.name == "transpose":
            moved = [axis for axis in eqn.parameters["permutation"] if program.shape(tail)[axis] != 1]
            return moved == sorted(moved)
        turned = eqn.name == "reshape" and eqn.parameters.get("dimensions")
        return eqn.name in KEEPS_ORDER and program.size(tail) == program.size(head) and not turned

    def is_diagonal(self, tail: int, head: int) -> bool:
        terms = self.edges.below[head][tail]
        same = self.program.shape(tail) == self.program.shape(head)
        return same and all(isinstance(t, Stored) and t.pattern.is_diagonal for t in terms)
