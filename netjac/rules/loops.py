"""What lies inside an equation that carries programs of its own: loops, branches, custom derivatives.

`while` has no reverse mode and `custom_vjp` no forward mode in JAX (that of `custom_linear_solve` fails when only some of
its operands move); a scan or a branch that holds one inherits that.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax.extend.core as jex

from netjac.graph.program import Equation, Program, flatten

FORWARD_ONLY = frozenset({"while"})
REVERSE_ONLY = frozenset({"custom_vjp_call", "custom_vjp_call_jaxpr", "custom_linear_solve"})


def directions(eqn: Equation) -> tuple[bool, bool]:
    """(can push, can pull)."""
    names = {eqn.name, *_inside(eqn.parameters)}
    return not names & REVERSE_ONLY, not names & FORWARD_ONLY


def _inside(parameters: dict) -> Iterator[str]:
    for body in jex.jaxprs_in_params(parameters):
        for eqn in body.eqns:
            yield eqn.primitive.name
            yield from _inside(eqn.params)


def bodies(eqn: Equation) -> list[Program]:
    """The programs inside an equation, as far as they are written out."""
    found = []
    for value in eqn.parameters.values():
        for entry in value if isinstance(value, tuple) else (value,):
            if isinstance(entry, jex.ClosedJaxpr):
                found.append(flatten(entry))
    return found
