"""The network's own forward pass, where another way than XLA's is worth it.

A convolution with an output shorter than its kernel (the last stages of a residual net on small images) falls out of XLA's
fast code on CPUs: 51 ms for 3 × 3 taps, 512 to 512 channels, 8 images of 2 × 2, where its patches times the kernel
take 0.9. So does one of every channel by itself (`netjac.rules.depthwise`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.graph.program import Equation, Program
from netjac.precision import on_cpu
from netjac.rules import depthwise
from netjac.rules.patches import views

Way = Callable[[Sequence[Any]], Sequence[Any]]


def another_way(program: Program, eqn: Equation) -> Way | None:
    """A function from the equation's operands to its results that is faster here, or None."""
    if eqn.name != "conv_general_dilated" or not on_cpu():
        return None
    if depthwise.is_depthwise(program, eqn):
        return lambda operands: [depthwise.convolved(program, eqn, *operands)]
    if not _apt(program, eqn):
        return None
    return lambda operands: [by_patches(program, eqn, *operands)]


def other_ways(program: Program, equations: Iterable[int]) -> dict[int, Way]:
    """Those there are among a program's equations, by index."""
    ways = {index: another_way(program, program.equations[index]) for index in equations}
    return {index: way for index, way in ways.items() if way is not None}


def _apt(program: Program, eqn: Equation) -> bool:
    p = eqn.parameters
    kernel, new = program.shape(eqn.operands[1]), program.shape(eqn.results[0])
    one = (p["feature_group_count"], p["batch_group_count"], *p["lhs_dilation"])
    plain = not any(n != 1 for n in one) and 0 not in (*kernel, *new)
    return plain and program.dtype(eqn.results[0]).itemsize >= 4 and is_short(program, eqn)


def is_short(program: Program, eqn: Equation, direction: str = "push") -> bool:
    """Whether what comes out is shorter along some axis than the kernel reaches; a pull has residues of the strides apart."""
    p = eqn.parameters
    numbers, kernel = p["dimension_numbers"], program.shape(eqn.operands[1])
    spec, made, steps = numbers.out_spec, program.shape(eqn.results[0]), (1,) * len(p["window_strides"])
    if direction == "pull":
        spec, made, steps = numbers.lhs_spec, program.shape(eqn.operands[0]), p["window_strides"]
    axes = zip(spec[2:], numbers.rhs_spec[2:], p["rhs_dilation"], steps, strict=True)
    return any(ceil(made[a] / step) < (ceil(kernel[k] / step) - 1) * d + 1 for a, k, d, step in axes)


def by_patches(program: Program, eqn: Equation, images: Any, weights: Any) -> jax.Array:
    """A convolution without groups as one matrix product of (images · places, taps · in) and (taps · in, out)."""
    p = eqn.parameters
    numbers = p["dimension_numbers"]
    images = jnp.transpose(jnp.asarray(images), (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1]))
    weights = jnp.transpose(jnp.asarray(weights), (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]))
    taps, places = weights.shape[:-2], [program.shape(eqn.results[0])[axis] for axis in numbers.out_spec[2:]]
    patches = jnp.concatenate(views(images, taps, places, p), -1)
    found = lax.dot_general(
        patches,
        weights.reshape(-1, weights.shape[-1]),
        (((patches.ndim - 1,), (0,)), ((), ())),
        precision=p["precision"],
        preferred_element_type=p["preferred_element_type"],
    )
    order = (numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1])
    return jnp.transpose(found, [order.index(axis) for axis in range(found.ndim)])
