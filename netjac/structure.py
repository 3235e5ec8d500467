"""What is known of a Jacobian's structure, in words and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from netjac.compiled import Compiled
from netjac.factors.pattern import Pattern
from netjac.graph.program import Equation
from netjac.pieces import Request
from netjac.precision import precise
from netjac.rules.propagation import follow
from netjac.tracing import Point


@dataclass(frozen=True)
class Structure:
    """What is known of the entries before any is computed.

    `kind`: "dense", "diagonal", "stencil" (each output depends on a window of the input), "block diagonal" (along an axis
    other than the samples'), "causal" (behind masks, no output depends on later positions of the input), "sparse" (where masks,
    or indices that the network gathers and scatters by, say) or "zero"; `per_sample`: samples are proven independent;
    `reason`: why, in words; `entries`: how many entries of one sample may be other than zero (None where only the framework
    knows).
    """

    kind: str
    per_sample: bool
    reason: str
    entries: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}; {self.reason}"

    def _repr_html_(self) -> str:
        from netjac.report.html import paragraph

        return paragraph([self.kind, self.reason])


def structure_of(
    point: Point, request: Request, plan: Compiled, pair: tuple[int, int], patterns: Sequence[Pattern]
) -> Structure:
    """The structure of one answer of a plan; `patterns` are those of its terms, left as local as they are."""
    of, wrt = request.of[pair[0]], request.wrt[pair[1]]
    if not patterns:
        return Structure("zero", point.samples is not None, f"{of!r} does not depend on {wrt!r}", 0)
    tied = pair in plan.tied
    samples = point.samples if tied and point.samples else 1
    entries = sum(pattern.meetings for pattern in patterns) // samples
    kind = _kind(patterns, tied)
    if point.samples is None:
        return Structure(kind, False, "the network has no axis of samples", entries)
    if wrt in point.traced.parameters:
        return Structure(kind, True, "one Jacobian for each sample; the parameters are shared by all", entries)
    if tied:
        return Structure(kind, True, "the samples are independent, proven on the graph", entries)
    return Structure(kind, False, _mixed(point, of, wrt), entries)


def _kind(patterns: Sequence[Pattern], per_sample: bool) -> str:
    if any(pattern.windows for pattern in patterns):
        reached = (prod(p.sizes[n] for n, _ in w.terms if n in p.hidden) for p in patterns for w in p.windows)
        sizes = (p.sizes[w.label] for p in patterns for w in p.windows)
        return "stencil" if any(r < n for r, n in zip(reached, sizes, strict=True)) else "dense"
    if all(pattern.out == pattern.inn for pattern in patterns):
        return "diagonal"
    samples = [set(pattern.out[0]) if per_sample and pattern.out else set() for pattern in patterns]
    blocks = all(pattern.tied - own for pattern, own in zip(patterns, samples, strict=True))
    return "block diagonal" if blocks else "dense"


def _mixed(point: Point, of: str, wrt: str) -> str:
    """The equation at which samples meet, with the layer it belongs to."""
    program = point.traced.program
    found: list[Equation] = []
    if program.shape(point.traced.value(wrt)):
        with precise(point.wide):
            follow(program, {point.traced.value(wrt): 0}, found.append)
    names = owners(point)
    if not found:
        return f"not per sample: axis 0 of {of!r} does not count the samples of {wrt!r}"
    where = names.get(found[0].results[0], "")
    inside = f" in {where!r}" if where else ""
    return f"not per sample: {found[0].name}{inside} mixes the samples, so the Jacobian is of all of them together"


def owners(point: Point) -> dict[int, str]:
    """Value → the layer in which it is computed: the one whose output is marked next."""
    program, marks = point.traced.program, {value: name for name, value in point.traced.layers.items()}
    found: dict[int, str] = {}
    waiting: list[int] = []
    for eqn in program.equations:
        waiting.extend(eqn.results)
        name = next((marks[r] for r in eqn.results if r in marks), None)
        if name is not None:
            found.update(dict.fromkeys(waiting, name))
            waiting = []
    return found


def step_names(point: Point) -> dict[str, str]:
    """How the values of a plan are called: a layer's own name at its output, `layer: primitive` inside."""
    program, layers = point.traced.program, owners(point)
    marks = {value: name for name, value in point.traced.layers.items()}
    named = {str(v): name for name, v in (*point.traced.inputs.items(), *point.traced.parameters.items())}
    for eqn in program.equations:
        for result in eqn.results:
            inside = f"{layers[result]}: {eqn.name}" if result in layers else eqn.name
            named[str(result)] = marks.get(result, inside)
    named.update({str(v): name for name, v in point.traced.outputs.items()})
    return named
