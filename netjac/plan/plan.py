"""`Plan`: the steps that will be executed, as a value that prints, compares and is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netjac.factors.pattern import Pattern
from netjac.plan.account import Account
from netjac.plan.eliminate import Edges
from netjac.plan.steps import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FREE = frozenset({"relabel", "seed"})


@dataclass(frozen=True)
class Alternative:
    """Another way, with the operations it would take, the bytes it would move and those of factors alive at once."""

    name: str
    operations: int
    moved: int
    peak: int


@dataclass(frozen=True)
class Answer:
    """Where the Jacobian of `of` (by place) by `wrt` (by place), or a term of it, ends up: a register and its pattern."""

    of: int
    wrt: int
    register: int
    pattern: Pattern


@dataclass(frozen=True)
class Plan:
    """How a Jacobian will be computed.

    `order`: "reverse", "forward", "cut" or "greedy"; `steps` in the order of execution; `operations`, `moved` (bytes read and
    written) and `peak` (bytes of factors alive at once) are predictions for one run, the network's own forward pass
    apart; `alternatives` are what plain reverse and forward mode and the other orders tried would have taken.
    """

    order: str
    steps: tuple[Step, ...]
    answers: tuple[Answer, ...]
    operations: int
    moved: int
    peak: int
    seconds: float
    alternatives: tuple[Alternative, ...] = ()
    names: dict[str, str] = field(default_factory=dict, compare=False)
    title: str = field(default="", compare=False)

    def beside(self, plain: Sequence[Alternative], others: Sequence[Plan]) -> Plan:
        tried = [plan.as_alternative(f"{plan.order}, structured") for plan in others]
        return dataclasses.replace(self, alternatives=(*plain, *tried))

    def as_alternative(self, name: str) -> Alternative:
        """What this plan would take, beside another that is chosen."""
        return Alternative(name, self.operations, self.moved, self.peak)

    def named(self, names: dict[str, str], title: str) -> Plan:
        """The same plan with the values' names, for printing."""
        return dataclasses.replace(self, names=names, title=title)

    @property
    def working_steps(self) -> tuple[Step, ...]:
        """The steps that compute something; relabelling does not."""
        return tuple(step for step in self.steps if step.form not in FREE)

    def count(self, form: str) -> int:
        """How many steps have this form."""
        return sum(step.form == form for step in self.steps)

    def made_by(self, register: int) -> str:
        """The form of the step whose numbers a register holds, be they relabelled since."""
        written = {number: step for step in self.steps for number in step.writes}
        step = written[register]
        while step.form == "relabel" and step.reads:
            step = next((written[n] for n in step.reads if written[n].form not in FREE), written[step.reads[0]])
        return step.form

    def rows(self) -> list[dict[str, Any]]:
        """The table as plain data: one dict a working step."""
        return [
            {
                "step": number,
                "form": step.form,
                "at": self.names.get(step.at, step.at),
                "factor": str(step.pattern),
                "operations": step.operations,
                "bytes": step.moved,
            }
            for number, step in enumerate(self.working_steps, 1)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything that `print(plan)` shows, for JSON."""
        return {
            "question": self.title,
            "order": self.order,
            "operations": self.operations,
            "bytes": self.moved,
            "peak_bytes": self.peak,
            "predicted_seconds": self.seconds,
            "alternatives": {other.name: other.operations for other in self.alternatives},
            "alternatives_bytes": {other.name: other.moved for other in self.alternatives},
            "alternatives_peak_bytes": {other.name: other.peak for other in self.alternatives},
            "steps": self.rows(),
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """A matplotlib figure: operations, bytes and peak beside plain forward and reverse mode; saved at `path`."""
        from netjac.report.plan_plots import plot_plan

        return plot_plan(self, path)

    def __str__(self) -> str:
        from netjac.plan.table import table

        return table(self)

    def _repr_html_(self) -> str:
        from netjac.plan.table import html

        return html(self)


def written(order: str, edges: Edges, writer: Account) -> Plan:
    """The plan of what the writer wrote, with its answers and its account."""
    return accounted(order, writer, [Answer(i, j, term.register, term.pattern) for i, j, term in edges.answers()])


def accounted(order: str, writer: Account, answers: Sequence[Answer]) -> Plan:
    """The steps that lead to these answers, with their account."""
    steps = _live(writer.steps, [answer.register for answer in answers])
    return Plan(
        order,
        steps,
        tuple(answers),
        sum(step.operations for step in steps),
        sum(step.moved for step in steps),
        _peak(steps, [answer.register for answer in answers], writer),
        sum(step.seconds for step in steps),
    )


def _live(steps: Sequence[Step], wanted: Sequence[int]) -> tuple[Step, ...]:
    """Without the steps that no answer reads."""
    needed = set(wanted)
    kept = []
    for step in reversed(steps):
        if needed.intersection(step.writes):
            needed.update(step.reads)
            kept.append(step)
    return tuple(kept[::-1])


def _peak(steps: Sequence[Step], answers: Sequence[int], writer: Account) -> int:
    """The most bytes that factors take at once when each is dropped after its last use."""
    last = {register: len(steps) for register in answers}
    for place in range(len(steps) - 1, -1, -1):
        for register in (*steps[place].reads, *steps[place].writes):
            last.setdefault(register, place)
    size: dict[int, int] = {}
    alive = peak = 0
    for place, step in enumerate(steps):
        own = 0 if step.form == "relabel" and step.reads else step.pattern.entries * writer.width
        for register in step.writes:
            size[register] = own if step.pattern.data else 0
            alive += size[register]
        peak = max(peak, alive)
        for register in {*step.reads, *step.writes}:
            if last[register] == place:
                alive -= size.get(register, 0)
    return peak
