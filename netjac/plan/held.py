"""Jacobians by parameters kept as two factors: what is pulled back to the value where a parameter enters, and how it enters.

∂u/∂W = Σ over its uses of δ · h, with δ = ∂u/∂z pulled back to the use z and h = ∂z/∂W there (a dense layer's input, a
convolution's patches). Neither the product nor the sum over uses is formed: whoever asks knows how much of it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from netjac.factors.product import Product, matched, straddling
from netjac.plan import windows
from netjac.plan.account import Stored, Term, Through
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import Answer, Plan, accounted
from netjac.plan.search import Setting, prepared
from netjac.plan.steps import Step


@dataclass(frozen=True)
class Use:
    """One term of ∂of/∂wrt (by place): `upper` · `lower`, or `upper` alone where a parameter's entry is opaque."""

    of: int
    wrt: int
    upper: Stored
    lower: Stored | None

    @property
    def factors(self) -> tuple[Stored, ...]:
        return (self.upper,) if self.lower is None else (self.upper, self.lower)


def held(linearised: Linearised, question: Question, setting: Setting) -> tuple[Plan, tuple[Use, ...]]:
    """The plan in reverse order without the products at the uses, its answers their factors, each once."""
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
    written = {register: step for step in edges.writer.steps for register in step.writes}
    uses = [replace(u, upper=_first(written, u.upper)) for u in _alike(edges, uses)]
    factors = {
        term.register: Answer(use.of, use.wrt, term.register, term.pattern) for use in uses for term in use.factors
    }
    return accounted("reverse, held", edges.writer, list(factors.values())), tuple(uses)


def _first(written: Mapping[int, Step], term: Stored) -> Stored:
    """The same numbers in the first register that holds them: a bias and the weights beside it share one δ."""
    register = term.register
    while (source := _same_numbers(written, written[register])) is not None:
        register = source
    return Stored(register, term.pattern)


def _same_numbers(written: Mapping[int, Step], step: Step) -> int | None:
    """The register that a relabelling passes on, where it leaves the numbers in their order."""
    product = step.action
    if step.form != "relabel" or not isinstance(product, Product) or product.scale != 1:
        return None
    sides = zip(step.reads, (product.left_labels, product.right_labels), strict=True)
    full = [(register, labels) for register, labels in sides if not _without_numbers(written, register)]
    return full[0][0] if len(full) == 1 and full[0][1] == product.order else None


def _without_numbers(written: Mapping[int, Step], register: int) -> bool:
    """Whether a register holds a pattern alone: an identity, a relabelling, or products of such."""
    step = written[register]
    if step.form not in ("seed", "relabel") or step.pattern.data:
        return False
    return all(_without_numbers(written, read) for read in step.reads)


def _alike(edges: Edges, uses: list[Use]) -> list[Use]:
    """Uses of one parameter that divide its axes differently are multiplied out, with every axis whole."""
    divisions: dict[tuple[int, int], set[tuple[tuple[int, ...], ...]]] = {}
    for use in uses:
        divisions.setdefault((use.of, use.wrt), set()).add(_division(use))
    return [
        use if len(divisions[use.of, use.wrt]) == 1 else replace(use, upper=_whole(edges, use), lower=None)
        for use in uses
    ]


def _division(use: Use) -> tuple[tuple[int, ...], ...]:
    """Into which atoms the parameter's axes fall, cut where the two factors meet."""
    upper = use.upper.pattern
    pattern = upper if use.lower is None else matched(upper, use.lower.pattern)[1].pattern
    return tuple(tuple(pattern.sizes[n] for n in axis) for axis in pattern.inn)


def _whole(edges: Edges, use: Use) -> Stored:
    term = use.upper if use.lower is None else edges.writer.multiply(use.upper, use.lower, "in")
    return edges.writer.fully_dense(windows.plain(edges.writer, term))


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
