"""What lies inside an equation that carries programs of its own: loops, branches, custom derivatives.

`while` and extremes over dilated windows have no reverse mode and `custom_vjp` has no forward mode in JAX; a scan or a
branch that holds one inherits that.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax.extend.core as jex

from netjac.graph.program import Equation, Program, flatten

FORWARD_ONLY = frozenset({"while"})
REVERSE_ONLY = frozenset({"custom_vjp_call", "custom_vjp_call_jaxpr"})
EXTREMES = frozenset({"reduce_window_max", "reduce_window_min"})


def directions(eqn: Equation) -> tuple[bool, bool]:
    """(can push, can pull)."""
    steps = [(eqn.name, eqn.parameters), *_inside(eqn.parameters)]
    return not any(name in REVERSE_ONLY for name, _ in steps), not any(_forward_only(*step) for step in steps)


def _forward_only(name: str, parameters: dict) -> bool:
    return name in FORWARD_ONLY or (name in EXTREMES and any(n != 1 for n in parameters["window_dilation"]))


def _inside(parameters: dict) -> Iterator[tuple[str, dict]]:
    for body in jex.jaxprs_in_params(parameters):
        for eqn in body.eqns:
            yield eqn.primitive.name, eqn.params
            yield from _inside(eqn.params)


def steps_first(eqn: Equation, place: int, result: bool) -> bool:
    """Whether axis 0 of an operand (or of a result) counts a scan's steps: vectors are batched behind it, not moved there."""
    if eqn.name != "scan":
        return False
    constants, carried = scan_counts(eqn)
    return place >= (carried if result else constants + carried)


def scan_counts(eqn: Equation) -> tuple[int, int]:
    """How many constants and how many carried values a scan has; its operands are these, then what it steps through."""
    p = eqn.parameters
    if "num_carry" in p:
        return p["num_consts"], p["num_carry"]
    constants, carried, _ = p["ft_in"].unpack()  # from JAX 0.11 on
    return len(list(constants.vals)), len(list(carried.vals))


def bodies(eqn: Equation) -> list[Program]:
    """The programs inside an equation, as far as they are written out."""
    found = []
    for value in eqn.parameters.values():
        for entry in value if isinstance(value, tuple) else (value,):
            if isinstance(entry, jex.ClosedJaxpr):
                found.append(flatten(entry))
    return found
