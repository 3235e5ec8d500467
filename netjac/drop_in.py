"""`jacobian_function`: a drop-in for `jax.jacobian`, traceable by every JAX transformation.

The plan is made while JAX traces, from shapes alone, and its steps are ordinary JAX operations: under `jit` they are
compiled with the rest, under `vmap` they are batched, and `grad` differentiates through them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import jax
import jax.numpy as jnp

from netjac.calibration import rates
from netjac.errors import NotDifferentiableError, ShapeError
from netjac.execute import accumulate, evaluated
from netjac.factors.refine import densify
from netjac.graph.program import Program, trace
from netjac.plan.eliminate import Linearised, Question
from netjac.plan.search import Setting, search


def jacobian_function(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The function that computes the Jacobian of `f` by its arguments `argnums`.

    Signature and layout are those of `jax.jacobian(f, argnums)`: the tree of the output outside, the tree of the
    argument inside (a tuple of them for several argnums), each leaf of shape (*out, *in) and of its output's dtype.
    Arguments and outputs are trees of arrays. Raises `NotDifferentiableError` for integer arguments or outputs, and, called
    with too few arguments, `ShapeError`.
    """
    several = not isinstance(argnums, int)  # as JAX has it, of NumPy's integers too
    places = tuple(map(index, argnums)) if isinstance(argnums, Sequence) else (index(argnums),)

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        for place in places:
            if not -len(args) <= place < len(args):
                raise ShapeError(
                    f"argnums names argument {place}, and {len(args)} are given by position; give that one by position too"
                )
        chosen = tuple(args[place] for place in places)
        leaves, tree = jax.tree_util.tree_flatten(chosen)
        leaves = [jnp.asarray(leaf) for leaf in leaves]

        def flat(*values: Any) -> Any:
            given = list(args)
            for place, value in zip(places, jax.tree_util.tree_unflatten(tree, values), strict=True):
                given[place] = value
            return f(*given, **kwargs)

        program, out_tree = trace(flat, *leaves)
        blocks = _blocks(program, leaves)
        by_output = [
            jax.tree_util.tree_unflatten(tree, row) if several else jax.tree_util.tree_unflatten(tree, row)[0]
            for row in blocks
        ]
        return jax.tree_util.tree_unflatten(out_tree, by_output)

    return jacobian


def _blocks(program: Program, leaves: Sequence[jax.Array]) -> list[list[jax.Array]]:
    """Every output leaf by every input leaf, dense."""
    for numbers, what in ((program.inputs, "argument"), (program.outputs, "output")):
        for place, value in enumerate(numbers):
            if not jnp.issubdtype(program.dtype(value), jnp.floating):
                raise NotDifferentiableError(
                    f"{what} {place} is {program.dtype(value)}, which has no real Jacobian; give floating-point numbers"
                )
    question = Question(program.inputs, program.outputs)
    width = max((program.dtype(v).itemsize for v in program.outputs), default=4)
    linearised = Linearised(program)
    plan = search(linearised, question, Setting(width, rates(), None))
    primal = evaluated(plan, program, leaves, list(program.constants.values()), program.outputs)
    dtype = jnp.result_type(*(program.dtype(v) for v in program.outputs))
    found = dict(zip(((a.of, a.wrt) for a in plan.answers), accumulate(plan, linearised, primal, dtype), strict=True))
    patterns = {(a.of, a.wrt): a.pattern for a in plan.answers}
    blocks = []
    for i, out in enumerate(program.outputs):
        row = []
        for j, inn in enumerate(program.inputs):
            shape = (*program.shape(out), *program.shape(inn))
            known = (i, j) in found
            array = densify(patterns[i, j], found[i, j], dtype).reshape(shape) if known else jnp.zeros(shape)
            row.append(array.astype(program.dtype(out)))
        blocks.append(row)
    return blocks
