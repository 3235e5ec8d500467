"""What plain reverse and plain forward mode would take: the sweeps of a framework's autodiff, which a plan is compared with.

Of m outputs and n inputs reverse mode pulls m cotangents back through every equation, and forward mode pushes n tangents
through it, with the local derivatives found once. Operations are those of the products with each vector. Bytes are those of
all vectors taken together, as `jax.jacrev` and `jax.jacfwd` do: each edge reads one block of vectors, and its factor, and
writes another; a block lives until the last edge that reads it, the answer's to the end, and the local derivatives all along.

    tanh(W x), W 3 × 2, one sample: 2 vectors · (3 + 2 · 3 · 2) operations forward, and 3 for tanh′
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netjac.plan.account import Stored, Through
from netjac.plan.cost import Rates, nbytes, sweep_operations, vector_operations
from netjac.plan.eliminate import Edges, Linearised, Question
from netjac.plan.plan import Alternative
from netjac.plan.terms import Writer


def plain_modes(
    linearised: Linearised, question: Question, width: int, rates: Rates, samples: int | None
) -> list[Alternative]:
    """Plain reverse and plain forward mode, of numbers of `width` bytes and samples along axis 0 (None: no such axis)."""
    program = linearised.program
    writer = Writer(program, width, rates)
    edges = Edges(linearised, question, writer, samples is not None)
    one, sums = _one_vector(edges)
    factors, ends = _bytes_of_edges(edges, width)
    local = sum(step.operations for step in writer.steps)
    held = sum(nbytes(step.pattern, width) for step in writer.steps if step.pattern.data and step.form != "relabel")
    found = sum(step.moved for step in writer.steps)
    sources, sinks = range(len(question.wrt)), range(len(question.of))
    order = [*(edges.source(j) for j in sources), *edges.interior, *(edges.sink(i) for i in sinks)]
    sizes = _sizes(edges)
    above = {tail: list(heads) for tail, heads in edges.above.items()}
    below = {head: list(tails) for head, tails in edges.below.items()}

    def mode(name: str, values: Sequence[int], more: int, way: list[int], to: Mapping[int, list[int]]) -> Alternative:
        vectors = sum(program.size(v) // (samples or 1) for v in values)
        block = vectors * width
        moved = found + factors + block * (ends + 3 * more)
        return Alternative(name, local + (one + more) * vectors, moved, held + block * _most(way, to, sizes))

    return [
        mode("plain reverse", question.of, sums, order[::-1], below),
        mode("plain forward", question.wrt, 0, order, above),
    ]


def _one_vector(edges: Edges) -> tuple[int, int]:
    """Operations to take one vector through every edge, and, in reverse, for the sums at values that are used several times."""
    program = edges.program
    seen: set[tuple[int, int]] = set()
    one = sums = 0
    for tail, heads in edges.above.items():
        sums += (len(heads) - 1) * (program.size(tail) if tail >= 0 else 0)
        for group in heads.values():
            for term in group:
                if isinstance(term, Stored):
                    one += vector_operations(term.pattern)
                elif isinstance(term, Through) and (term.equation, term.result) not in seen:
                    seen.add((term.equation, term.result))
                    one += sweep_operations(program, program.equations[term.equation])
    return one, sums


def _bytes_of_edges(edges: Edges, width: int) -> tuple[int, int]:
    """Bytes of the factors that the edges read, and numbers that one vector has at both ends of every edge together.

    Edges to the asked-for values themselves are names for what is there.
    """
    sizes, inner = _sizes(edges), set(edges.interior)
    factors = ends = 0
    for tail, heads in edges.above.items():
        for head, group in heads.items():
            if tail in inner and head in inner:
                ends += len(group) * (sizes[tail] + sizes[head])
                stored = (term.pattern for term in group if isinstance(term, Stored))
                factors += sum(nbytes(pattern, width) for pattern in stored if pattern.data)
    return factors, ends


def _sizes(edges: Edges) -> dict[int, int]:
    """Numbers of one vector at every vertex, all samples together."""
    question, size = edges.question, edges.program.size
    found = {vertex: size(vertex) for vertex in edges.interior}
    found.update({edges.source(j): size(value) for j, value in enumerate(question.wrt)})
    found.update({edges.sink(i): size(value) for i, value in enumerate(question.of)})
    return found


def _most(order: Sequence[int], to: Mapping[int, list[int]], sizes: Mapping[int, int]) -> int:
    """Numbers of one vector alive at once at most, going through the vertices in order; `to` are those an edge leads to."""
    starts, ends = ({v for v in order if v not in has} for has in ({w for ws in to.values() for w in ws}, to))
    alive = {vertex: sizes[vertex] for vertex in starts}
    most = sum(alive.values())
    for vertex in order:
        nexts = to.get(vertex, [])
        # A vertex beside the program's is another name for a value: its block is handed on and not copied.
        if vertex in starts or (set(nexts) <= ends and nexts):
            alive.pop(vertex, None)
        alive.update({w: sizes[w] for w in nexts})
        most = max(most, sum(alive.values()))
        if vertex not in ends:
            alive.pop(vertex, None)
    return most
