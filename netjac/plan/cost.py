"""What a step is predicted to cost.

The time of a step is the larger of its operations over the rate of its form and its bytes over the bandwidth, and a
launch on top; operations alone mislead (a scaling of a block costs a tenth of the operations of a product and as much
time). The rates are of the order of one core's for the CPU and one card's for a GPU; only their ratios choose a plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from netjac.factors.pattern import Pattern
from netjac.graph.program import Equation, Program
from netjac.rules.depthwise import is_depthwise
from netjac.rules.forward import is_short
from netjac.rules.loops import bodies


@dataclass(frozen=True)
class Rates:
    """Operations a second of matrix products, convolutions, convolutions whose output is shorter than their kernel, what picks
    winners (the pull of a max pool), and all else; bytes a second; and seconds to start a step."""

    product: float
    convolution: float
    short: float
    picking: float
    elementwise: float
    bandwidth: float
    launch: float


RATES = {
    "cpu": Rates(
        product=3e11, convolution=2.7e11, short=3e9, picking=7e7, elementwise=6e9, bandwidth=1.5e10, launch=2e-6
    ),
    "gpu": Rates(
        product=2e13, convolution=1e13, short=1e13, picking=1e10, elementwise=5e11, bandwidth=1.5e12, launch=4e-6
    ),
}

FUSED = 4
"""Times as many operations as elsewhere where a loop reads many taps for each number that it writes."""
FULL = 32
"""Channels from which a convolution runs at its rate; with fewer it takes as long as with these."""


def seconds(form: str, operations: int, moved: int, rates: Rates) -> float:
    """Of a step that is no sweep."""
    return longer(operations / (rates.product if form == "product" else rates.elementwise), moved, rates)


def longer(computing: float, moved: int, rates: Rates) -> float:
    return max(computing, moved / rates.bandwidth) + rates.launch


def sweep_seconds(program: Program, eqn: Equation, direction: str, operations: int, moved: int, rates: Rates) -> float:
    """Of a block pushed or pulled through an equation."""
    if eqn.name == "conv_general_dilated":
        rate = _convolving(program, eqn, direction, rates)
    elif eqn.name == "dot_general":
        rate = rates.product
    elif eqn.name in ("reduce_window_max", "reduce_window_min"):
        rate = rates.picking
    else:
        rate = rates.elementwise
    return longer(operations / rate, moved, rates)


def _convolving(program: Program, eqn: Equation, direction: str, rates: Rates) -> float:
    if is_depthwise(program, eqn):
        return rates.elementwise * FUSED
    if is_short(program, eqn, direction):
        return rates.short
    return rates.convolution * min(1.0, _channels(program, eqn, direction) / FULL)


def _channels(program: Program, eqn: Equation, direction: str) -> int:
    """Of what the sweep computes; a pull has one for every residue of the strides besides."""
    spec = eqn.parameters["dimension_numbers"].rhs_spec
    kernel = program.shape(eqn.operands[1])
    if direction == "push":
        return kernel[spec[0]]
    return kernel[spec[1]] * eqn.parameters["feature_group_count"] * prod(eqn.parameters["window_strides"])


def sweep_operations(program: Program, eqn: Equation) -> int:
    """Operations to take one tangent or one cotangent through an equation."""
    ins = sum(program.size(n) for n in eqn.operands if hasattr(program.types[n], "shape"))
    outs = sum(program.size(n) for n in eqn.results if hasattr(program.types[n], "shape"))
    if eqn.name == "conv_general_dilated":
        spec = eqn.parameters["dimension_numbers"].rhs_spec
        kernel = program.shape(eqn.operands[1])
        return 2 * outs * prod(size for axis, size in enumerate(kernel) if axis != spec[0])
    if eqn.name == "dot_general":
        (contracted, _), _ = eqn.parameters["dimension_numbers"]
        return 2 * outs * prod(program.shape(eqn.operands[0])[axis] for axis in contracted)
    inner = [sum(sweep_operations(body, step) for step in body.equations) for body in bodies(eqn)]
    return ins + outs + eqn.parameters.get("length", 1) * sum(inner)


def vector_operations(pattern: Pattern) -> int:
    """Operations to multiply one vector by a factor: two for each pair of indices that meet, one along ties alone."""
    return pattern.meetings if pattern.is_diagonal else 2 * pattern.meetings


def nbytes(pattern: Pattern, width: int) -> int:
    return pattern.entries * width
