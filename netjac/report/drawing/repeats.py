"""Blocks that follow one another and are alike, drawn once.

    a1 → b1 → a2 → b2 → a3 → b3        is drawn as        a1 → b1, × 3

Blocks are alike where their nodes, in order, have the same kinds, shapes, structures of local Jacobians, and sources at the
same places: inside the block, or the last node of the block before. Nothing else may use what is inside.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from netjac.graph.outline import Node

FEWEST_SAVED = 4
"""Cards that a block drawn once must save, for a reader to be spared something."""


@dataclass(frozen=True)
class Once:
    """The nodes that are drawn; for those of a repeated block, the nodes that they stand for, themselves first."""

    nodes: dict[str, Node]
    stands_for: dict[str, tuple[str, ...]]


def drawn_once(nodes: Mapping[str, Node], look: Callable[[str], Hashable]) -> Once:
    """`look` is what must be equal of two nodes for them to be alike, their sources apart."""
    names = list(nodes)
    place = {name: i for i, name in enumerate(names)}
    uses: list[list[int]] = [[] for _ in names]
    for name, node in nodes.items():
        for source in node.sources:
            uses[place[source]].append(place[name])
    looks = [(look(name), tuple(place[source] - i for source in nodes[name].sources)) for i, name in enumerate(names)]
    kept: dict[str, Node] = {}
    stands_for: dict[str, tuple[str, ...]] = {}
    renamed: dict[str, str] = {}
    at = 0
    while at < len(names):
        size, count = _longest(names, nodes, looks, uses, at)
        block, end = names[at : at + size], at + size * count
        for o, name in enumerate(block):
            node = nodes[name]
            kept[name] = replace(node, sources=tuple(renamed.get(source, source) for source in node.sources))
            if count > 1:
                stands_for[name] = tuple(names[at + o : end : size])
        if count > 1:
            last = names[end - 1]
            renamed[last] = block[-1]
            kept[block[-1]] = replace(kept[block[-1]], is_output=nodes[last].is_output)
        at = end
    return Once(kept, stands_for)


def _longest(
    names: Sequence[str], nodes: Mapping[str, Node], looks: Sequence[Hashable], uses: Sequence[Sequence[int]], at: int
) -> tuple[int, int]:
    """Size of the block that begins here and how often it comes, so that most is saved; (1, 1) where nothing is."""
    best, saved = (1, 1), FEWEST_SAVED - 1
    for size in range(1, (len(names) - at) // 2 + 1):
        if looks[at] != looks[at + size]:
            continue
        count = 1
        while looks[at : at + size] == looks[at + count * size : at + (count + 1) * size]:
            count += 1
        while count > 1 and not _closed(names, nodes, uses, at, size, count):
            count -= 1
        if (count - 1) * size > saved:
            best, saved = (size, count), (count - 1) * size
    return best


def _closed(
    names: Sequence[str], nodes: Mapping[str, Node], uses: Sequence[Sequence[int]], at: int, size: int, count: int
) -> bool:
    """Whether every block sees the one before by its last node alone, and what comes after the last block too."""
    end = at + size * count
    for i in range(at, end):
        node, begin = nodes[names[i]], at + (i - at) // size * size
        last = i == begin + size - 1
        if node.is_input or (node.is_output and i != end - 1):
            return False
        if any(source not in names[max(0, begin - 1) : i] for source in node.sources):
            return False
        reach = begin + 2 * size if last else begin + size
        if i != end - 1 and any(use >= reach for use in uses[i]):
            return False
    return True
