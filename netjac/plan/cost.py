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
from netjac.rules.loops import bodies


@dataclass(frozen=True)
class Rates:
    """Operations a second of matrix products and of all else, bytes a second, and seconds to start a step."""

    product: float
    elementwise: float
    bandwidth: float
    launch: float


RATES = {
    "cpu": Rates(product=2e11, elementwise=5e9, bandwidth=1.5e10, launch=2e-6),
    "gpu": Rates(product=2e13, elementwise=5e11, bandwidth=1.5e12, launch=4e-6),
}

PRODUCTS = frozenset({"product", "dot_general", "conv_general_dilated", "pull conv_general_dilated",
                      "push conv_general_dilated"})  # fmt: skip


def seconds(form: str, operations: int, moved: int, rates: Rates) -> float:
    rate = rates.product if form in PRODUCTS else rates.elementwise
    return max(operations / rate, moved / rates.bandwidth) + rates.launch


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
