"""Jacobians by parameters kept as two factors: what is pulled back to the value where a parameter enters, and how it enters.

∂u/∂W = Σ over its uses of δ · h, with δ = ∂u/∂z pulled back to the use z and h = ∂z/∂W there (a dense layer's input, a
convolution's patches). Neither the product nor the sum over uses is formed: whoever asks knows how much of it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from netjac.factors.product import straddling
from netjac.plan import windows
from netjac.plan.account import Stored, Term, Through
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import Answer, Plan, accounted
from netjac.plan.search import Setting, prepared


@dataclass(frozen=True)
class Use:
    """One term of ∂of/∂wrt (by place): `upper` · `lower`, or `upper` alone where a parameter's entry is opaque."""

    of: int
    wrt: int
    upper: Stored
    lower: Stored | None


def held(linearised: Linearised, question: Question, setting: Setting) -> tuple[Plan, tuple[Use, ...]]:
    """The plan in reverse order without the products at the uses, its answers the factors of the uses in turn."""
    edges = prepared(linearised, question, setting)
    sources = {edges.source(j): j for j in range(len(question.wrt))}
    for vertex in edges.interior:
        if _only_named(edges, vertex, sources):
            edges.eliminate(vertex, "out")
    uses: list[Use] = []
    for vertex in reversed(edges.interior):
        uses += _taken(edges, vertex, sources)
        edges.eliminate(vertex, "in")
    uses += [Use(i, j, term, None) for i, j, term in edges.answers()]
    factors = [(use, term) for use in uses for term in (use.upper, use.lower) if term is not None]
    answers = [Answer(use.of, use.wrt, term.register, term.pattern) for use, term in factors]
    return accounted("reverse, held", edges.writer, answers), tuple(uses)


def _only_named(edges: Edges, vertex: int, sources: dict[int, int]) -> bool:
    """Whether a value is a parameter, relabelled at most."""
    below = edges.below.get(vertex, {})
    terms = [term for group in below.values() for term in group]
    return (
        set(below) <= set(sources)
        and len(terms) == 1
        and isinstance(terms[0], Stored)
        and not terms[0].pattern.data
        and not terms[0].pattern.windows
        and terms[0].pattern.out_labels == terms[0].pattern.in_labels
    )


def _taken(edges: Edges, vertex: int, sources: dict[int, int]) -> list[Use]:
    """The uses at a value that parameters enter, their edges removed. All that it goes to are the asked-for values."""
    found: list[Use] = []
    sinks = {edges.sink(i): i for i in range(len(edges.question.of))}
    above = edges.above.get(vertex, {})
    for tail in [tail for tail in edges.below.get(vertex, {}) if tail in sources]:
        lowers = [_written(edges, term) for term in edges.below[vertex][tail]]
        if any(lower is None for lower in lowers) or not set(above) <= set(sinks):
            continue
        edges.writer.at = str(vertex)
        for head, uppers in above.items():
            upper = windows.plain(edges.writer, edges.writer.combined([edges.writer.stored(t) for t in uppers]))
            above[head][:] = [upper]
            for lower in lowers:
                assert lower is not None
                found.append(_use(edges, sinks[head], sources[tail], upper, lower))
        del edges.below[vertex][tail], edges.above[tail][vertex]
    return found


def _use(edges: Edges, of: int, wrt: int, upper: Stored, lower: Stored) -> Use:
    if straddling(upper.pattern, lower.pattern):
        return Use(of, wrt, windows.plain(edges.writer, edges.writer.multiply(upper, lower, "in")), None)
    return Use(of, wrt, upper, lower)


def _written(edges: Edges, term: Term) -> Stored | None:
    if isinstance(term, Through):
        return windows.plain(edges.writer, edges.writer.written(term)) if term.local.written is not None else None
    return windows.plain(edges.writer, term)
