"""`formula`: a model and an example in, the factored closed form of its Jacobian out."""

from __future__ import annotations

from typing import Any

from netjac.errors import ShapeError
from netjac.formula.expression import Expression, atoms
from netjac.formula.formula import Formula
from netjac.formula.graph import Graph
from netjac.formula.reduction import Reduction
from netjac.formula.symbols import Namer
from netjac.jacobian import ask_one, input_names, output_names
from netjac.networks import Network, network_of
from netjac.pieces import Options
from netjac.tracing import meet, narrowed


def formula(model: Any, x: Any = None, *, wrt: str | list[str] = "input", of: str | list[str] = "output") -> Any:
    """The Jacobian ∂of/∂wrt of a model in closed form: the product of its layers' Jacobians, sums where paths are parallel.

    `model`, `wrt` and `of` are as for `nj.jacobian`; with several outputs or inputs, or wrt="parameters", a dict of
    formulas by name comes back, outputs outside. `x` is an example of the input; it may be left out for a model that knows
    the shape of its own. Raises `ShapeError` where it does not, and whatever `nj.jacobian` raises.
    """
    network = network_of(model)
    x = network.example("formula") if x is None else x
    point = meet(network, x)
    if point.samples == 0:
        raise ShapeError(f"x has no samples; give {network.name!r} an example with at least one along axis 0")
    ofs, named_of = output_names(point, of)
    wrts, named_wrt = input_names(point, wrt)
    found: dict[str, Any] = {}
    for head in ofs:
        inner = {tail: _one(network, x, head, tail) for tail in wrts}
        found[head] = inner if named_wrt else next(iter(inner.values()))
    return found if named_of else next(iter(found.values()))


def _one(network: Network, x: Any, of: str, wrt: str) -> Formula:
    asked = ask_one(network, x, wrt, of, Options("auto", "highest", None, False))
    sides, point = asked.sides((0, 0)), asked.point
    if sides.batch is not None and point.samples != 1:
        point = narrowed(point, 0, 1)
    graph = Graph(point, point.traced.value(wrt), point.traced.value(of))
    reduction = Reduction(graph)
    expression: Expression | None = None
    if graph.sink in graph.below:
        inner = set(graph.below) - {graph.source, graph.sink}
        expression = reduction.reduce(graph.source, graph.sink, inner)
    every = [*reduction.equations.values(), *([expression] if expression is not None else [])]
    ordered = sorted({a for e in every for a in atoms(e)}, key=lambda a: (graph.order(a.head), graph.order(a.tail)))
    named = Namer(graph).name(ordered)
    numbers = {value: place + 1 for place, value in enumerate(reduction.equations)}
    return Formula(of, wrt, network, point, sides, expression, reduction.equations, named, numbers)
