"""Choosing the plan: every candidate order is written out on patterns, and the cheapest is kept.

Candidates are reverse, forward, the cheapest value first (`greedy`), and, where the graph is one value wide at some
points, the best bracketing of the chain between them (`netjac.plan.chain`), cut at any of these points. Scalings between
two values are merged first, whatever the order: a gelu is one diagonal, not six. A candidate that takes more operations than
plain reverse or plain forward mode is taken only where all do, and then it is the one that takes least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netjac.errors import NotDifferentiableError
from netjac.plan.account import Stored, Term
from netjac.plan.alive import cut_down
from netjac.plan.chain import Bracket, Link, best_bracket
from netjac.plan.cost import Rates, sweep_operations, vector_operations
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plain import plain_modes
from netjac.plan.plan import Plan, written
from netjac.plan.terms import Writer

MOST_CUTS = 40
LOPSIDED = 64
MOST_GREEDY = 300
"""Equations above which the greedy order, which looks at every value again and again, is not tried."""


@dataclass(frozen=True)
class Setting:
    """What a plan is made for: bytes of a number, the device's rates, the samples that axis 0 counts (None: no such axis).

    `alive`: for some scalings, by the value they give, to how many units they and their neighbours are cut down.
    """

    width: int
    rates: Rates
    samples: int | None
    alive: tuple[tuple[int, int], ...] = ()


Order = Callable[[Edges, Setting], None]


def reverse(edges: Edges, _setting: Setting) -> None:
    for vertex in reversed(edges.interior):
        edges.eliminate(vertex, "in")


def forward(edges: Edges, _setting: Setting) -> None:
    for vertex in edges.interior:
        edges.eliminate(vertex, "out")


def chain(edges: Edges, setting: Setting) -> None:
    """Eliminate in the order of the best bracketing between the points where the graph is one value wide."""
    cuts = narrowest(cut_points(edges), edges, MOST_CUTS)
    points = [edges.source(0), *cuts, edges.sink(0)]
    segments = _segments(edges, points)
    links = [_link(edges, points[i], points[i + 1], inside, setting) for i, inside in enumerate(segments)]
    _follow(best_bracket(links), points, segments, links, edges)


def greedy(edges: Edges, _setting: Setting) -> None:
    """The cheapest value first, whatever its place: local factors are merged before wide blocks come to them.

    The Markowitz rule (Griewank and Walther, ch. 10) with predicted seconds in the place of a count of edges.
    """
    prices = {vertex: edges.price(vertex, "in") for vertex in edges.interior}
    while prices:
        vertex = min(prices, key=lambda v: (prices[v], -v))
        del prices[vertex]
        near = {*edges.below.get(vertex, {}), *edges.above.get(vertex, {})}
        edges.eliminate(vertex, "in")
        prices.update({other: edges.price(other, "in") for other in near if other in prices})


def merge_scalings(edges: Edges) -> None:
    """Absorb each value between two scalings or relabellings."""
    for vertex in edges.interior:
        if edges.is_plain(vertex):
            edges.eliminate(vertex, "in")


def cut_points(edges: Edges) -> list[int]:
    """The values that every path from the one source to the one sink passes, in order."""
    vertices = edges.interior
    place = {vertex: i for i, vertex in enumerate(vertices)}
    place[edges.source(0)], place[edges.sink(0)] = -1, len(vertices)
    reach = -1
    cuts = []
    for vertex in (edges.source(0), *vertices):
        if vertex in place and place[vertex] >= reach and place[vertex] >= 0:
            cuts.append(vertex)
        reach = max([reach, *(place[head] for head in edges.above.get(vertex, {}))])
    return cuts


def narrowest(cuts: list[int], edges: Edges, most: int) -> list[int]:
    """At most so many of the cuts, the widest left out."""
    chosen = set(sorted(cuts, key=lambda vertex: edges.program.size(vertex))[:most])
    return [vertex for vertex in cuts if vertex in chosen]


def _segments(edges: Edges, points: list[int]) -> list[list[int]]:
    """The values strictly between neighbouring points, in order."""
    between: list[list[int]] = [[]]
    for vertex in edges.interior:
        if vertex in points:
            between.append([])
        else:
            between[-1].append(vertex)
    return between


def _link(edges: Edges, tail: int, head: int, inside: list[int], setting: Setting) -> Link:
    samples = setting.samples or 1
    inner = {tail, head, *inside}
    terms: list[Term] = [
        term
        for vertex in (tail, *inside)
        for to, group in edges.above.get(vertex, {}).items()
        if to in inner
        for term in group
    ]
    sweep = sum(_term_operations(edges, term) for term in terms) // samples

    def width(vertex: int) -> int:
        value = vertex
        if vertex < 0:
            value = edges.question.wrt[0]
        elif vertex >= len(edges.program.types):
            value = edges.question.of[0]
        return max(edges.program.size(value) // samples, 1)

    ready = not inside and all(isinstance(term, Stored) for term in terms)
    return Link(width(head), width(tail), sweep, ready)


def _term_operations(edges: Edges, term: Term) -> int:
    if isinstance(term, Stored):
        return vector_operations(term.pattern)
    return sweep_operations(edges.program, edges.program.equations[term.equation])


def _follow(bracket: Bracket, points: list[int], segments: list[list[int]], links: list[Link], edges: Edges) -> None:
    """Eliminate what lies strictly between the bracket's ends, in the bracket's order."""
    low, high = bracket.low, bracket.high
    if bracket.form == "leaf":
        backwards = links[low].outputs <= links[low].inputs
        for vertex in segments[low][::-1] if backwards else segments[low]:
            edges.eliminate(vertex, "in" if backwards else "out")
        return
    for part in (bracket.upper, bracket.lower):
        if part is not None:
            _follow(part, points, segments, links, edges)
    if bracket.form == "product":
        edges.eliminate(points[bracket.split], "in")
    elif bracket.form == "pull":
        for i in range(bracket.split - 1, low - 1, -1):
            for vertex in (points[i + 1], *segments[i][::-1]):
                edges.eliminate(vertex, "in")
    else:
        for i in range(bracket.split, high + 1):
            for vertex in (points[i], *segments[i]):
                edges.eliminate(vertex, "out")


def search(linearised: Linearised, question: Question, setting: Setting, engine: str = "auto") -> Plan:
    """The plan for a question. `engine`: "forward" or "reverse" force that order, "auto" and "structured" choose."""
    ways = _candidates(linearised, question, setting, engine)
    plans: list[Plan] = []
    refusals: list[NotDifferentiableError] = []
    for name, order in ways:
        try:
            plans.append(_attempt(linearised, question, setting, name, order))
        except NotDifferentiableError as refusal:
            refusals.append(refusal)
    if not plans:
        raise refusals[0]
    plain = plain_modes(linearised, question, setting.width, setting.rates, setting.samples)
    most = max(min(other.operations for other in plain), min(plan.operations for plan in plans))
    best = min((plan for plan in plans if plan.operations <= most), key=lambda plan: plan.seconds)
    return best.beside(plain, [p for p in plans if p is not best])


def _candidates(linearised: Linearised, question: Question, setting: Setting, engine: str) -> list[tuple[str, Order]]:
    if engine in ("forward", "reverse"):
        return [(engine, forward if engine == "forward" else reverse)]
    program, samples = linearised.program, setting.samples or 1
    outs = (question.rows or sum(program.size(v) // samples for v in question.of)) or 1
    ins = (question.columns or sum(program.size(v) // samples for v in question.wrt)) or 1
    ways: list[tuple[str, Order]] = []
    if outs <= LOPSIDED * ins:
        ways.append(("reverse", reverse))
    if ins <= LOPSIDED * outs:
        ways.append(("forward", forward))
    if len(question.wrt) == len(question.of) == 1:
        ways.append(("cut", chain))
    if len(program.needed(question.of)) <= MOST_GREEDY:
        ways.append(("greedy", greedy))
    return ways


def _attempt(linearised: Linearised, question: Question, setting: Setting, name: str, order: Order) -> Plan:
    edges = prepared(linearised, question, setting)
    order(edges, setting)
    return written(name, edges, edges.writer)


def prepared(linearised: Linearised, question: Question, setting: Setting) -> Edges:
    """The graph as every order starts from it."""
    writer = Writer(linearised.program, setting.width, setting.rates)
    edges = Edges(linearised, question, writer, setting.samples is not None)
    merge_scalings(edges)
    cut_down(edges, dict(setting.alive))
    return edges
