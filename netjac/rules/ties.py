"""Along which axes the primitives without explicit numbers are block diagonal.

A convolution never mixes the samples of a batch, a maximum over axis 1 never mixes axis 0, a cumulative sum mixes only
its own axis. Each function returns pairs (operand axis, result axis); leaving one out costs speed, naming a wrong one
would cost the answer, so only what holds for every value of the operands is named.

Example, reduce_max over axis 1 of v with shape (2, 3): the pair (0, 0), because u_0 sees only v_0·.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from netjac.graph.program import Equation, Program
from netjac.rules.local import TIES

Pairs = Sequence[tuple[int, int]]
Finder = Callable[[Program, Equation, int, int], Pairs | None]


def ties(*primitives: str) -> Callable[[Finder], Finder]:
    """Register a finder of ties."""

    def register(function: Finder) -> Finder:
        TIES.update(dict.fromkeys(primitives, function))
        return function

    return register


def _all_but(rank: int, mixed: Iterable[int]) -> Pairs:
    mixed = set(mixed)
    return [(axis, axis) for axis in range(rank) if axis not in mixed]


def _rank(program: Program, eqn: Equation, operand: int = 0) -> int:
    return len(program.shape(eqn.operands[operand]))


@ties("reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "reduce")
def reduction(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    axes = eqn.parameters["dimensions" if eqn.name == "reduce" else "axes"]
    if eqn.name == "reduce" and operand >= len(eqn.operands) // 2:
        return ()
    kept = [axis for axis in range(_rank(program, eqn, operand)) if axis not in axes]
    return [(axis, place) for place, axis in enumerate(kept)]


@ties("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def cumulative(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    return _all_but(_rank(program, eqn), (eqn.parameters["axis"],))


@ties("sort")
def sort(program: Program, eqn: Equation, operand: int, result: int) -> Pairs:
    return _all_but(_rank(program, eqn), (eqn.parameters["dimension"],))


@ties("top_k", "approx_top_k")
def top_k(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    axis = eqn.parameters.get("axis", eqn.parameters.get("reduction_dimension", -1))
    return _all_but(_rank(program, eqn), (axis % _rank(program, eqn),))


@ties("rev")
def reversal(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    return _all_but(_rank(program, eqn), eqn.parameters["dimensions"])


@ties("concatenate")
def concatenation(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    axis = eqn.parameters["dimension"]
    alone = program.shape(eqn.operands[operand])[axis] == program.shape(eqn.results[0])[axis]
    return _all_but(_rank(program, eqn, operand), () if alone else (axis,))


@ties("split")
def splitting(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    return _all_but(_rank(program, eqn), (eqn.parameters["axis"],))


@ties("stack")
def stacking(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    axis = eqn.parameters["axis"]
    return [(a, a + (a >= axis)) for a in range(_rank(program, eqn, operand))]


@ties("unstack")
def unstacking(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    axis = eqn.parameters["axis"]
    return [(a, a - (a > axis)) for a in range(_rank(program, eqn)) if a != axis]


@ties("real", "imag", "conj", "complex")
def parts_of_complex(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    return _all_but(_rank(program, eqn, operand), ())


@ties("pad")
def padding(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    if operand:
        return ()
    return [(a, a) for a, config in enumerate(eqn.parameters["padding_config"]) if not any(config)]


@ties("slice")
def slicing(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    return _same_extent(program.shape(eqn.operands[0]), program.shape(eqn.results[0]))


@ties("dynamic_slice")
def dynamic_slicing(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    return _same_extent(program.shape(eqn.operands[0]), program.shape(eqn.results[0])) if operand == 0 else ()


@ties("dynamic_update_slice")
def dynamic_update(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    if operand > 1:
        return ()
    return _same_extent(program.shape(eqn.operands[1]), program.shape(eqn.results[0]))


def _same_extent(narrow: tuple[int, ...], wide: tuple[int, ...]) -> Pairs:
    """A slice as long as its axis takes all of it, wherever it is said to start."""
    return [(axis, axis) for axis, (a, b) in enumerate(zip(narrow, wide, strict=True)) if a == b]


@ties("reduce_window_max", "reduce_window_min", "reduce_window_sum", "reduce_window")
def window(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    p = eqn.parameters
    if eqn.name == "reduce_window" and operand >= len(eqn.operands) // 2:
        return ()
    rank = _rank(program, eqn, operand)
    plain = zip(
        p["window_dimensions"],
        p["window_strides"],
        p["padding"],
        p.get("base_dilation", (1,) * rank),
        strict=True,
    )
    return [(a, a) for a, (size, stride, pad, base) in enumerate(plain) if size == stride == base == 1 and not any(pad)]


@ties("conv_general_dilated")
def convolution(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    p = eqn.parameters
    numbers = p["dimension_numbers"]
    groups = p["feature_group_count"]
    if operand == 1:
        return [(numbers.rhs_spec[0], numbers.out_spec[1])] if p["batch_group_count"] == 1 else ()
    pairs = [(numbers.lhs_spec[0], numbers.out_spec[0])] if p["batch_group_count"] == 1 else []
    channels = program.shape(eqn.operands[0])[numbers.lhs_spec[1]]
    if groups == channels == program.shape(eqn.results[0])[numbers.out_spec[1]]:
        pairs.append((numbers.lhs_spec[1], numbers.out_spec[1]))
    return pairs


@ties("gather")
def gather(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    if operand:
        return ()
    p = eqn.parameters
    numbers, shape = p["dimension_numbers"], program.shape(eqn.operands[0])
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    window_axes = [axis for axis in range(len(shape)) if axis not in gone]
    pairs = [
        (axis, place)
        for axis, place in zip(window_axes, numbers.offset_dims, strict=True)
        if p["slice_sizes"][axis] == shape[axis]
    ]
    index_rank = len(program.shape(eqn.operands[1])) - 1
    out_rank = len(program.shape(eqn.results[0]))
    batch_places = [place for place in range(out_rank) if place not in numbers.offset_dims]
    by_index_axis = dict(zip(range(index_rank), batch_places, strict=True))
    for axis, index_axis in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        pairs.append((axis, by_index_axis[index_axis]))
    return pairs


@ties(
    "scatter", "scatter-add", "scatter-sub", "scatter_add", "scatter-mul", "scatter_mul", "scatter-min", "scatter-max"
)
def scatter(program: Program, eqn: Equation, operand: int, _result: int) -> Pairs:
    numbers = eqn.parameters["dimension_numbers"]
    shape, updates = program.shape(eqn.operands[0]), program.shape(eqn.operands[2])
    gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    window_axes = [axis for axis in range(len(shape)) if axis not in gone]
    whole = [
        (axis, place)
        for axis, place in zip(window_axes, numbers.update_window_dims, strict=True)
        if updates[place] == shape[axis]
    ]
    update_axes = [a for a in range(len(updates)) if a not in numbers.update_window_dims]
    index_rank = len(program.shape(eqn.operands[1])) - 1
    by_index_axis = dict(zip(range(index_rank), update_axes, strict=True))
    batching = zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True)
    whole += [(axis, by_index_axis[index_axis]) for axis, index_axis in batching]
    if operand == 0:
        return [(axis, axis) for axis, _ in whole]
    return [(place, axis) for axis, place in whole] if operand == 2 else ()


@ties("cholesky", "lu", "qr", "householder_product", "eigh", "svd", "triangular_solve", "tridiagonal_solve")
def linear_algebra(program: Program, eqn: Equation, operand: int, result: int) -> Pairs:
    same = program.shape(eqn.operands[operand])[: max(_rank(program, eqn, operand) - 2, 0)]
    return [(a, a) for a, size in enumerate(same) if program.shape(eqn.results[result])[a : a + 1] == (size,)]


@ties("custom_linear_solve")
def linear_solve(_program: Program, eqn: Equation, operand: int, _result: int) -> Pairs | None:
    """The solution depends on the matrix and the right-hand side; what the solvers are given has no derivative in JAX."""
    lengths = eqn.parameters["const_lengths"]
    return None if lengths.matvec <= operand < sum(lengths) else ()


@ties("fft")
def fourier(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    rank = _rank(program, eqn)
    return _all_but(rank, range(rank - len(eqn.parameters["fft_lengths"]), rank))


@ties("reshape")
def reshape(program: Program, eqn: Equation, _operand: int, _result: int) -> Pairs:
    """Leading and trailing axes that stay as they are, around a middle whose sizes straddle."""
    old, new = program.shape(eqn.operands[0]), program.shape(eqn.results[0])
    pairs: list[Any] = []
    for a, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            break
        pairs.append((a, a))
    for a, (before, after) in enumerate(zip(old[::-1], new[::-1], strict=False), 1):
        if before != after or len(old) - a < len(pairs) or len(new) - a < len(pairs):
            break
        pairs.append((len(old) - a, len(new) - a))
    return pairs
