"""J as a product of local factors, sums where ways part: the chain that a drawing shows under the network.

J(head by stop) = factor · J(source by stop) where a layer has one source; else, with d the nearest node that all ways to it
pass, (Σ factor · J(source by d)) · J(d by stop).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx

from netjac.graph.outline import Node
from netjac.report.drawing.local import LocalFactor

MOST_FACTORS = 400


@dataclass(frozen=True)
class Sum:
    """Products that are added up; an empty product is the identity."""

    terms: tuple[tuple[Part, ...], ...]


Part = LocalFactor | Sum
Factors = Mapping[tuple[str, str], tuple[LocalFactor, ...]]


def product_of(nodes: Mapping[str, Node], factors: Factors, head: str, stop: str) -> tuple[Part, ...] | None:
    """∂head/∂stop, from left to right; None where it would take more than `MOST_FACTORS` factors to write."""
    ways = nx.DiGraph((source, name) for name, node in nodes.items() for source in node.sources)
    if head == stop or stop not in ways or head not in ways:
        return ()
    between = ways.subgraph((nx.descendants(ways, stop) & (nx.ancestors(ways, head) | {head})) | {stop})
    if head not in between:
        return ()
    dominators = dict(nx.immediate_dominators(between, stop))
    left = MOST_FACTORS

    def walk(name: str, end: str) -> list[Part] | None:
        nonlocal left
        parts: list[Part] = []
        while name != end:
            left -= 1
            if left < 0:
                return None
            sources = [s for s in nodes[name].sources if s in between]
            if len(sources) == 1:
                parts += _shown(factors[name, sources[0]])
                name = sources[0]
                continue
            terms: list[tuple[Part, ...]] = []
            for source in sources:
                onwards = walk(source, dominators[name])
                if onwards is None:
                    return None
                terms.append((*_shown(factors[name, source]), *onwards))
            parts.append(Sum(tuple(terms)))
            name = dominators[name]
        return parts

    found = walk(head, stop)
    return None if found is None else tuple(found)


def _shown(factors: tuple[LocalFactor, ...]) -> list[LocalFactor]:
    """Multiplying by the identity is not written."""
    return [factor for factor in factors if factor.kind != "identity"]


def count(parts: tuple[Part, ...]) -> int:
    return sum(sum(map(count, p.terms)) if isinstance(p, Sum) else 1 for p in parts)
