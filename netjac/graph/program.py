"""`Program`: a traced function as a flat list of equations over numbered values.

Calls that only group equations (jit, remat, closed calls) are inlined; calls that carry a derivative of their own
(custom_jvp, custom_vjp) and loops stay whole, because following their primal code would give another derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from netjac.graph.normal import POOLS, read_in_another_order, slice_of, transposition_of, without_rest
from netjac.points import PRIMITIVE as POINT

INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_lin"})


@dataclass(frozen=True, eq=False)
class Equation:
    """`results = primitive(operands)`: value numbers in and out, and the primitive's static parameters."""

    primitive: Any
    operands: tuple[int, ...]
    results: tuple[int, ...]
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return self.primitive.name

    def bind(self, *operands: Any) -> list[Any]:
        """Evaluate on arrays or tracers; always a list, one entry a result."""
        results = self.primitive.bind(*operands, **self.primitive.get_bind_params(self.parameters))
        return list(results) if self.primitive.multiple_results else [results]


@dataclass
class Program:
    """Equations in an order in which they can be evaluated.

    `constants` are arrays closed over, `literals` scalars written into the program, `points` the named values.
    """

    types: list[Any] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    constants: dict[int, Any] = field(default_factory=dict)
    literals: dict[int, Any] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)

    def shape(self, value: int) -> tuple[int, ...]:
        return tuple(self.types[value].shape)

    def size(self, value: int) -> int:
        return int(np.prod(self.shape(value), dtype=np.int64))

    def dtype(self, value: int) -> Any:
        return self.types[value].dtype

    def differentiable(self, value: int) -> bool:
        """Real or complex floating numbers, and at least one of them."""
        return hasattr(self.types[value], "shape") and bool(
            jnp.issubdtype(self.dtype(value), jnp.inexact) and self.size(value)
        )

    @cached_property
    def bare(self) -> Program:
        """The same without the arrays that it closes over, for what outlives the network: they may be its weights."""
        return replace(self, constants=dict.fromkeys(self.constants))

    @cached_property
    def producer(self) -> dict[int, int]:
        """Value → the index of the equation that computes it."""
        return {result: index for index, eqn in enumerate(self.equations) for result in eqn.results}

    def needed(self, values: Iterable[int]) -> list[int]:
        """Indices of the equations that `values` are computed by, in order."""
        wanted, found = set(values), []
        for index in range(len(self.equations) - 1, -1, -1):
            if wanted.intersection(self.equations[index].results):
                found.append(index)
                wanted.update(self.equations[index].operands)
        return found[::-1]

    def evaluate(
        self,
        inputs: Sequence[Any],
        constants: Sequence[Any],
        equations: Iterable[int],
        given: dict[int, Any] | None = None,
        instead: Mapping[int, Callable[[list[Any]], Sequence[Any]]] | None = None,
    ) -> dict[int, Any]:
        """The values of the inputs, constants and given equations' results; `constants` in the order of `constants`.

        Values in `given` are taken as they are, whatever the equations would make of them. `instead` has functions from
        operands to results for equations that are to be evaluated in another way.
        """
        given, instead = given or {}, instead or {}
        values: dict[int, Any] = dict(self.literals)
        values.update(zip(self.constants, constants, strict=True))
        values.update(zip(self.inputs, inputs, strict=True))
        values.update(given)
        for index in equations:
            eqn = self.equations[index]
            if not all(result in given for result in eqn.results):
                operands = [values[n] for n in eqn.operands]
                results = instead[index](operands) if index in instead else eqn.bind(*operands)
                values.update(zip(eqn.results, results, strict=True))
                values.update(given)
        return values


def trace(function: Callable[..., Any], *arguments: Any) -> tuple[Program, Any]:
    """The program of `function` at (the shapes and dtypes of) the arguments, and the tree of its output.

    The function is traced anew at every call, whatever JAX remembers of it: it may read values that have changed.
    """
    closed, shapes = jax.make_jaxpr(lambda *a: function(*a), return_shape=True)(*arguments)
    return flatten(closed), jax.tree_util.tree_structure(shapes)


def flatten(closed: jex.ClosedJaxpr) -> Program:
    """A closed jaxpr as a program, calls inlined."""
    program = Program()
    inputs = [_value(program, var.aval) for var in closed.jaxpr.invars]
    program.inputs = tuple(inputs)
    program.outputs = tuple(_inline(program, closed.jaxpr, closed.consts, inputs))
    return program


def _value(program: Program, aval: Any) -> int:
    program.types.append(aval)
    return len(program.types) - 1


def _constant(program: Program, aval: Any, array: Any) -> int:
    for number, known in program.constants.items():
        if known is array:
            return number
    number = _value(program, aval)
    program.constants[number] = array
    return number


def _inline(program: Program, jaxpr: jex.Jaxpr, constants: Sequence[Any], inputs: Sequence[int]) -> list[int]:
    known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
    for var, array in zip(jaxpr.constvars, constants, strict=True):
        known[var] = _constant(program, var.aval, array)

    def read(atom: Any) -> int:
        if not isinstance(atom, jex.Literal):
            return known[atom]
        number = _value(program, atom.aval)
        program.literals[number] = atom.val
        return number

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        inner = _inner(eqn)
        if inner is not None:
            results = _inline(program, inner[0], inner[1], operands)
        else:
            parameters = _normal(program, eqn, operands)
            results = [_value(program, var.aval) for var in eqn.outvars]
            program.equations.append(Equation(eqn.primitive, tuple(operands), tuple(results), parameters))
            if eqn.primitive.name == POINT:
                program.points[_occurrence(program, eqn.params["name"])] = results[0]
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _normal(program: Program, eqn: jex.JaxprEqn, operands: list[int]) -> dict[str, Any]:
    """The equation's parameters, where it needs others after what is done to its operand here first."""
    parameters: dict[str, Any] = eqn.params
    if eqn.primitive.name not in (*POOLS, "reshape"):
        return parameters
    shape, dtype = program.shape(operands[0]), program.dtype(operands[0])
    if eqn.primitive.name != "reshape":
        if tiled := without_rest(parameters, shape):
            operands[0] = _made(program, operands[0], slice_of(tiled, dtype))
        return parameters
    if order := read_in_another_order(parameters, len(shape)):
        operands[0] = _made(program, operands[0], transposition_of(shape, order, dtype))
        return {**parameters, "dimensions": None}
    return parameters


def _made(program: Program, value: int, by: tuple[Any, dict[str, Any], Any]) -> int:
    primitive, parameters, aval = by
    result = _value(program, aval)
    program.equations.append(Equation(primitive, (value,), (result,), parameters))
    return result


def _inner(eqn: jex.JaxprEqn) -> tuple[jex.Jaxpr, Sequence[Any]] | None:
    """The body and constants of a call that is only a grouping."""
    if eqn.primitive.name not in INLINED:
        return None
    body = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if isinstance(body, jex.ClosedJaxpr):
        return body.jaxpr, body.consts
    return (body, ()) if isinstance(body, jex.Jaxpr) else None


def _occurrence(program: Program, name: str) -> str:
    if name not in program.points:
        return name
    count = 2
    while f"{name}#{count}" in program.points:
        count += 1
    return f"{name}#{count}"
