"""The activations that networks write in several equations: gelu, silu and the like, told by what they compute."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import numpy as np

from netjac.formula.expression import Atom
from netjac.formula.graph import Graph
from netjac.formula.trial import piece_of, trials
from netjac.precision import precise

KNOWN: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu (by tanh)": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hard sigmoid": jax.nn.hard_sigmoid,
    "hard silu": jax.nn.hard_silu,
    "tanh": jnp.tanh,
    "logistic": jax.nn.sigmoid,
}
MARKS = frozenset(
    {"erf", "erfc", "logistic", "tanh", "exp", "exp2", "expm1", "log1p", "select_n", "max", "min", "clamp"}
)
"""The functions that they are made of: others need not be tried."""
TOLERANCE = 1e-5
SPREAD, POINTS = 6, 200
"""Of the numbers tried: wide and many enough for a relu6 to be no relu, in a layer of one unit too."""


REPEATING = ("broadcast_in_dim", "convert_element_type", "reshape")


def elementwise(graph: Graph, atom: Atom) -> str:
    """The name of the activation that several equations compute; "" where it is none that is known here."""
    names = {graph.equation(value).name for value in (*atom.inner, atom.head)}
    if not names & MARKS or str(graph.program.dtype(atom.head)) not in ("float32", "float64"):
        return ""
    written = _written(graph, atom)
    if written not in graph.named:
        graph.named[written] = _named(graph, atom)
    return graph.named[written]


def _named(graph: Graph, atom: Atom) -> str:
    tried = trials(graph, atom, (atom.head,), SPREAD, POINTS)
    if tried is None:
        return ""
    with precise(graph.point.wide):
        for name, known in KNOWN.items():
            expected = [np.asarray(known(jnp.asarray(trial.x))).ravel() for trial in tried]
            pairs = zip(tried, expected, strict=True)
            if all(np.allclose(trial.values[0].ravel(), one, rtol=TOLERANCE, atol=TOLERANCE) for trial, one in pairs):
                return name
    return ""


def _written(graph: Graph, atom: Atom) -> Hashable:
    """How an activation is written, whatever its shape: a network's many need not all be tried."""
    program = graph.program
    only, _ = piece_of(graph, atom, (atom.head,))
    places = {atom.tail: 0}

    def operand(value: int) -> Hashable:
        while value not in places and value in program.producer and graph.equation(value).name in REPEATING:
            value = graph.equation(value).operands[0]
        if value in places:
            return "own", places[value]
        fixed = program.literals.get(value, program.constants.get(value))
        return ("number", float(fixed)) if fixed is not None and np.size(fixed) == 1 else ("value", value)

    found: list[Hashable] = []
    for index in only:
        eqn = program.equations[index]
        told = tuple(sorted((k, v) for k, v in eqn.parameters.items() if isinstance(v, int | float | str)))
        function = str(eqn.parameters["call_jaxpr"]) if "call_jaxpr" in eqn.parameters else eqn.name
        found.append((function, told, tuple(operand(n) for n in eqn.operands)))
        places.update((result, len(places)) for result in eqn.results)
    return str(program.dtype(atom.head)), *found
