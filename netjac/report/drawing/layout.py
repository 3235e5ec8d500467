"""Where blocks stand: layers one below the other along the main way, branches in lanes to its right, skips to its left.

Layers that follow one another without branching are one stack of cards. Stacks are ranked by the longest way to them; the
way with the most layers is the main one and stays in lane 0. What is beside it takes the nearest lane that is free over its
ranks, short things first, so that nested skips nest. Long networks go on in a new column, where only what comes from one
layer is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import networkx as nx

from netjac.graph.outline import Node

T = TypeVar("T")
MOST_CARDS = 10


@dataclass(frozen=True)
class Stack:
    """Nodes in a row, one below the other; `rank` and `lane` say where."""

    names: tuple[str, ...]
    rank: int
    lane: int


@dataclass(frozen=True)
class Way:
    """An edge between stacks, by place. `lane` is None for one between neighbours, else it passes left of the main way."""

    tail: int
    head: int
    lane: int | None


@dataclass(frozen=True)
class Layout:
    """`columns` has the first rank of each column, in order."""

    stacks: tuple[Stack, ...]
    ways: tuple[Way, ...]
    columns: tuple[int, ...] = (0,)
    heights: tuple[int, ...] = field(default=())
    """Of each rank, in cards."""


def laid_out(nodes: Mapping[str, Node], tallest: int) -> Layout:
    """Stacks, ways and columns of about `tallest` cards."""
    groups = _chains(nodes)
    place = {name: i for i, names in enumerate(groups) for name in names}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(groups)))
    graph.add_edges_from(
        (place[s], place[name], {"weight": len(groups[place[name]])})
        for name, node in nodes.items()
        for s in node.sources
        if place[s] != place[name]
    )
    ranks = {i: rank for rank, generation in enumerate(nx.topological_generations(graph)) for i in generation}
    main = set(nx.dag_longest_path(graph, weight="weight"))
    lanes = _lanes({i: _span(graph, ranks, i) for i in graph if i not in main}, 1)
    skips = [(a, b) for a, b in graph.edges if _is_skip(graph, ranks, main, a, b)]
    left = _lanes({edge: (ranks[edge[0]], ranks[edge[1]] - 1) for edge in skips}, 0)
    stacks = tuple(Stack(names, ranks[i], lanes.get(i, 0)) for i, names in enumerate(groups))
    heights = [0] * (max(ranks.values()) + 1)
    for stack in stacks:
        heights[stack.rank] = max(heights[stack.rank], len(stack.names))
    ways = tuple(Way(a, b, left.get((a, b))) for a, b in graph.edges)
    return Layout(stacks, ways, _columns(graph, ranks, heights, tallest), tuple(heights))


def _chains(nodes: Mapping[str, Node]) -> list[tuple[str, ...]]:
    """The nodes in stacks: as long as each has one source, which has no other use."""
    uses: dict[str, int] = dict.fromkeys(nodes, 0)
    for node in nodes.values():
        for source in node.sources:
            uses[source] += 1
    groups: list[list[str]] = []
    of: dict[str, list[str]] = {}
    for name, node in nodes.items():
        before = of[node.sources[0]] if len(node.sources) == 1 else None
        joins = before is not None and before[-1] == node.sources[0] and uses[node.sources[0]] == 1
        if before is None or not joins or len(before) >= MOST_CARDS:
            groups.append([])
            before = groups[-1]
        before.append(name)
        of[name] = before
    return [tuple(group) for group in groups]


def _span(graph: nx.DiGraph, ranks: Mapping[int, int], i: int) -> tuple[int, int]:
    """The ranks that a stack beside the main way takes up, with its own straight edges."""
    before = [ranks[p] + 1 for p in graph.predecessors(i)] or [ranks[i]]
    after = [ranks[s] - 1 for s in graph.successors(i)] or [ranks[i]]
    return min(max(before), ranks[i]), max(min(after), ranks[i])


def _is_skip(graph: nx.DiGraph, ranks: Mapping[int, int], main: set[int], a: int, b: int) -> bool:
    """An edge past other ranks that does not run down the lane of one of its ends."""
    if ranks[b] - ranks[a] <= 1:
        return False
    if b not in main and ranks[a] == max(ranks[p] for p in graph.predecessors(b)):
        return False
    return a in main or ranks[b] != min(ranks[s] for s in graph.successors(a))


def _lanes(spans: Mapping[T, tuple[int, int]], first: int) -> dict[T, int]:
    """A lane for each span, such that none in one lane overlap; short spans take the inner lanes."""
    taken: dict[int, list[tuple[int, int]]] = {}
    found: dict[T, int] = {}
    for what, (start, stop) in sorted(spans.items(), key=lambda item: (item[1][1] - item[1][0], item[1])):
        lane = first
        while any(start <= b and a <= stop for a, b in taken.get(lane, ())):
            lane += 1
        taken.setdefault(lane, []).append((start, stop))
        found[what] = lane
    return found


def _columns(graph: nx.DiGraph, ranks: Mapping[int, int], heights: Sequence[int], tallest: int) -> tuple[int, ...]:
    crossing: list[set[int]] = [set() for _ in heights]
    for a, b in graph.edges:
        for rank in range(ranks[a] + 1, ranks[b] + 1):
            crossing[rank].add(a)
    found, used = [0], 0
    for rank, height in enumerate(heights):
        if used and used + height > tallest and len(crossing[rank]) == 1:
            found.append(rank)
            used = 0
        used += height
    return tuple(found)
