"""TensorFlow's loops as JAX loops, counted ones as `scan`.

A `while` whose condition depends on nothing but counters runs a number of times that is known beforehand: recurrent
layers do. Such a loop becomes a `scan`, which differentiates in both directions. Any other stays a `while_loop`,
through which tangents can be pushed but no cotangents pulled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

Values = tuple[Any, ...]


def while_operation(node: Any) -> Any:
    """A While or StatelessWhile node, in the form in which tf2jax wants operations that call other functions."""
    return _while_class()({"cond_fun": node.attr["cond"].func.name, "body_fun": node.attr["body"].func.name})


@functools.cache
def _while_class() -> type:
    from tf2jax._src import ops

    class While(ops._HigherOrderFunction):
        def __call__(self, *values: Any, cond_fun: Any, body_fun: Any) -> Values:
            changing = [i for i, fixed in enumerate(body_fun.output_is_input) if not fixed]

            def full(changed: Values) -> list[Any]:
                merged = list(values)
                for i, value in zip(changing, changed, strict=True):
                    merged[i] = value
                return merged

            def step(*changed: Any) -> Values:
                after = body_fun(*full(changed))
                return tuple(after[i] for i in changing)

            final = loop(lambda *changed: cond_fun(*full(changed))[0], step, tuple(values[i] for i in changing))
            return tuple(full(final))

    return While


def loop(test: Callable[..., Any], step: Callable[..., Values], values: Values) -> Values:
    """`while test(*values): values = step(*values)`."""
    shapes = jax.eval_shape(step, *values)
    values = tuple(_initial(value, shape) for value, shape in zip(values, shapes, strict=True))
    trips = _trip_count(test, step, values)
    if trips is None:
        return jax.lax.while_loop(lambda carry: test(*carry), lambda carry: step(*carry), values)
    final, _ = jax.lax.scan(lambda carry, _: (step(*carry), None), values, None, length=trips)
    return final


def _initial(value: Any, shape: jax.ShapeDtypeStruct) -> Any:
    """A list that is still empty takes the shape of what the loop puts into it."""
    if value.size == 0 and value.shape != shape.shape:
        return jnp.zeros(shape.shape, shape.dtype)
    return value


def _trip_count(test: Callable[..., Any], step: Callable[..., Values], values: Values) -> int | None:
    """How often the loop runs, None where that depends on values not known now."""
    abstract = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in values]
    tested, stepped = jax.make_jaxpr(test)(*abstract), jax.make_jaxpr(step)(*abstract)
    counters = _counters(_dependences(tested)[0], _dependences(stepped))
    if counters is None or any(isinstance(values[i], jax.core.Tracer) for i in counters):
        return None
    order = sorted(counters)

    def filled(counts: Sequence[Any]) -> list[Any]:
        # Nothing that is kept depends on the zeros.
        full = [jnp.zeros(value.shape, value.dtype) for value in abstract]
        for i, count in zip(order, counts, strict=True):
            full[i] = count
        return full

    def count(carry: tuple[list[Any], Any]) -> tuple[list[Any], Any]:
        counts, trips = carry
        results = after(*filled(counts))
        return [results[i] for i in order], trips + 1

    with jax.ensure_compile_time_eval():
        still, after = _without_tracers(tested), _without_tracers(stepped)
        start = [jnp.asarray(values[i]) for i in order]
        _, trips = jax.lax.while_loop(lambda carry: still(*filled(carry[0]))[0], count, (start, jnp.int32(0)))
        return int(trips)


def _counters(tested: set[int] | None, stepped: list[set[int] | None]) -> set[int] | None:
    """The values that decide when the loop ends; None where something traced outside the loop has a say."""
    counters: set[int] = set()
    waiting: list[set[int] | None] = [tested]
    while waiting:
        depends = waiting.pop()
        if depends is None:
            return None
        waiting.extend(stepped[i] for i in depends - counters)
        counters |= depends
    return counters


def _dependences(closed: jax.extend.core.ClosedJaxpr) -> list[set[int] | None]:
    """For each result the arguments it may depend on; None where it depends on a value traced outside."""
    jaxpr = closed.jaxpr
    depends: dict[Any, set[int] | None] = {var: {i} for i, var in enumerate(jaxpr.invars)}
    for var, value in zip(jaxpr.constvars, closed.consts, strict=True):
        depends[var] = None if isinstance(value, jax.core.Tracer) else set()

    def union(atoms: Sequence[Any]) -> set[int] | None:
        all_of: set[int] = set()
        for atom in atoms:
            own = set() if isinstance(atom, jax.extend.core.Literal) else depends[atom]
            if own is None:
                return None
            all_of |= own
        return all_of

    for equation in jaxpr.eqns:
        depends.update(dict.fromkeys(equation.outvars, union(equation.invars)))
    return [union([atom]) for atom in jaxpr.outvars]


def _without_tracers(closed: jax.extend.core.ClosedJaxpr) -> Callable[..., list[Any]]:
    """The function with zeros for the values traced outside, so that it can be run while they are being traced."""
    consts = [jnp.zeros(c.shape, c.dtype) if isinstance(c, jax.core.Tracer) else c for c in closed.consts]
    return jax.extend.core.jaxpr_as_fun(jax.extend.core.ClosedJaxpr(closed.jaxpr, consts))
