"""Series-parallel reduction of the linearised graph: products along a chain, sums over parallel paths.

A value that every path passes cuts the graph into factors; paths between two cuts that meet nowhere else are the terms of
a sum (Valdes, Tarjan and Lawler, The recognition of series parallel digraphs, 1982). Where neither is found, the Jacobian
of each value that several others are computed from gets an equation of its own, so that nothing is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from netjac.formula.expression import IDENTITY, Atom, Expression, Named, product, total
from netjac.formula.graph import Graph

SUMMING = frozenset({"reduce_sum", "broadcast_in_dim", "reshape", "expand_dims"})
NORMALISING = frozenset({"add", "add_any", "sub", "mul", "div", "neg", "square", "integer_pow", "sqrt", "rsqrt", "max", "min",
                         "reduce_sum", "select_n", "name", "convert_element_type", *SUMMING})  # fmt: skip


@dataclass
class Reduction:
    """`equations`: value → the expression of its Jacobian by `start[value]`, in the order of evaluation."""

    graph: Graph
    equations: dict[int, Expression] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)

    def reduce(self, tail: int, head: int, inner: set[int], direct: bool = True) -> Expression:
        """The Jacobian ∂head/∂tail along paths through `inner`, and the direct edge where `direct`."""
        if tail == head:
            return IDENTITY
        cuts = self._cuts(tail, head, inner, direct)
        if len(cuts) > 2:
            return self._chain(cuts, inner)
        if not inner:
            return self._edge(tail, head)
        straight = tail in self.graph.below[head]
        if direct or not straight:
            kind = self._known(tail, head, inner)
            if kind:
                return Atom(tail, head, frozenset(inner), kind)
        parts = self._components(inner)
        if len(parts) + (direct and straight) > 1:
            terms = [self._edge(tail, head)] if direct and straight else []
            return total([*terms, *(self.reduce(tail, head, part, False) for part in parts)])
        return self._listed(tail, head, inner)

    def _edge(self, tail: int, head: int) -> Expression:
        kind = self.graph.kind(tail, head)
        return IDENTITY if kind == "same" else Atom(tail, head, frozenset(), kind)

    def _tails(self, value: int, inner: set[int], tail: int) -> list[int]:
        return [t for t in self.graph.below[value] if t in inner or t == tail]

    def _cuts(self, tail: int, head: int, inner: set[int], direct: bool) -> list[int]:
        """The values that every path passes: no edge leads past them."""
        places = [tail, *sorted(inner, key=self.graph.order), head]
        index = {value: place for place, value in enumerate(places)}
        furthest = [0] * len(places)
        for value in places[1:]:
            for t in self._tails(value, inner, tail):
                if t != tail or value != head or direct:
                    furthest[index[t]] = max(furthest[index[t]], index[value])
        cuts, reach = [tail], 0
        for place in range(len(places)):
            if place and reach <= place and places[place] != tail:
                cuts.append(places[place])
            reach = max(reach, furthest[place])
        return cuts

    def _chain(self, cuts: list[int], inner: set[int]) -> Expression:
        ordered = sorted(inner, key=self.graph.order)
        order = self.graph.order
        segments: list[tuple[int, int, set[int]]] = []
        place = 0
        for a, b in pairwise(cuts):
            own: set[int] = set()
            while place < len(ordered) and order(ordered[place]) < order(b):
                if ordered[place] != a:
                    own.add(ordered[place])
                place += 1
            segments.append((a, b, own))
        return product([self.reduce(a, b, own) if not kind else Atom(a, b, frozenset(own), kind)
                        for a, b, own, kind in reversed(self._merged(segments))])  # fmt: skip

    def _merged(self, segments: list[tuple[int, int, set[int]]]) -> list[tuple[int, int, set[int], str]]:
        """Neighbours joined that are one function to a reader: an activation, a normalisation, a softmax, a reshape."""
        found: list[tuple[int, int, set[int], str]] = []
        for a, b, own in segments:
            kind = self._known(a, b, own) if own else self.graph.kind(a, b)
            if kind == "same":
                kind, skip = "", not own
            else:
                skip = False
            if skip:
                continue
            last = found[-1] if found else None
            joined = self._joined(last, a, b, own, kind) if last else ""
            if last and joined:
                found[-1] = (last[0], b, last[2] | self._between(last[1], a) | {last[1], a} | own, joined)
            else:
                found.append((a, b, own, kind))
        return found

    def _between(self, start: int, end: int) -> set[int]:
        """The values of the identities from `start` to `end`, which lie on one chain."""
        found: set[int] = set()
        while end != start:
            found.add(end)
            end = self.graph.below[end][0]
        return found

    def _joined(self, last: tuple[int, int, set[int], str], a: int, b: int, own: set[int], kind: str) -> str:
        inside = last[2] | own | {last[1], a}
        layers = {self.graph.owners.get(v) for v in (*inside, b)}
        if len(layers) > 1:
            return ""
        names = self._functions(inside | {b}, last[0])
        if last[3] == kind and kind in ("activation", "rearrangement"):
            # The exponential of a softmax is its own: what comes before it (a temperature, say) is not of diag(p) − ppᵀ.
            return "" if self._is_summed(b) else kind
        if own and not last[2] and self.graph.equation(last[1]).name == "exp" and self._divides(last[1], b, own):
            return "softmax"
        if last[3] == "pooling" and kind == "activation" and not own and self._averages(last[1], b):
            return "pooling"
        if "norm" in (last[3], kind) and {last[3], kind} <= {"norm", "activation", ""} and names <= NORMALISING:
            return "norm"
        return ""

    def _functions(self, values: set[int], tail: int) -> set[str]:
        return {self.graph.equation(v).name for v in values if v != tail}

    def _is_summed(self, value: int) -> bool:
        if self.graph.equation(value).name != "exp":
            return False
        users = [v for v, tails in self.graph.below.items() if value in tails]
        return any(self.graph.equation(v).name == "reduce_sum" for v in users)

    def _averages(self, total: int, head: int) -> bool:
        """Whether `head` is a sum by a fixed number of entries."""
        eqn = self.graph.equation(head)
        summed = self.graph.equation(total).name in ("reduce_sum", "reduce_window_sum")
        return summed and eqn.name in ("div", "mul") and len(set(eqn.operands) & self.graph.moving) == 1

    def _divides(self, powers: int, head: int, inner: set[int]) -> bool:
        """Whether `head` is `powers` by its own sum."""
        eqn = self.graph.equation(head)
        names = self._functions(inner, powers)
        return eqn.name == "div" and eqn.operands[0] == powers and "reduce_sum" in names and names <= SUMMING

    def _known(self, tail: int, head: int, inner: set[int]) -> str:
        """What a piece with several paths is, where it has a name; "" where its paths are to be told apart."""
        graph = self.graph
        if len({graph.owners.get(v) for v in (*inner, head)}) > 1:
            return ""
        heads = (*inner, head)
        pairs = [(t, v) for v in heads for t in graph.below[v] if t in inner or t == tail]
        names = {graph.equation(v).name for v in heads}
        if all(graph.is_diagonal(t, v) for t, v in pairs) and names - {"add", "add_any", "name"}:
            return "activation"
        if names & {"rsqrt", "sqrt"} and "reduce_sum" in names and names <= NORMALISING:
            return "norm"
        return ""

    def _components(self, inner: set[int]) -> list[set[int]]:
        root = {v: v for v in inner}

        def find(v: int) -> int:
            while root[v] != v:
                root[v] = root[root[v]]
                v = root[v]
            return v

        for v in inner:
            for t in self.graph.below[v]:
                if t in inner:
                    root[find(v)] = find(t)
        groups: dict[int, set[int]] = {}
        for v in sorted(inner, key=self.graph.order):
            groups.setdefault(find(v), set()).add(v)
        return list(groups.values())

    def _listed(self, tail: int, head: int, inner: set[int]) -> Expression:
        """Each value that several others are computed from has an equation; the rest is put in its place."""
        uses = dict.fromkeys(inner, 0)
        for v in (*inner, head):
            for t in self.graph.below[v]:
                if t in uses:
                    uses[t] += 1
        known: dict[int, Expression] = {tail: IDENTITY}
        for v in (*sorted(inner, key=self.graph.order), head):
            tails = [t for t in self.graph.below[v] if t in known and (v, t) != (head, tail)]
            known[v] = total([product([self._edge(t, v), known[t]]) for t in tails])
            if v != head and uses[v] > 1 and v not in self.equations:
                self.equations[v], self.starts[v] = known[v], tail
                known[v] = Named(v)
        return known[head]
