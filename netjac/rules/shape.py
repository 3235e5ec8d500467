"""Reshaping primitives: every entry of u is an entry of v. Their Jacobians have no numbers, only labels.

Example, v of shape (2, 3) transposed to (3, 2): ∂u[j, i]/∂v[i′, j′] = δ(i, i′) δ(j, j′), written out=((1,), (0,)),
inn=((0,), (1,)). Reshaped to (6,): out=((0, 1),), inn=((0,), (1,)). Repeated to (4, 2, 3): out gains a label that v
does not have, and no number is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from netjac.factors.pattern import Axes, Names, Pattern, atoms, identity, labels_of, proper
from netjac.factors.refine import common_atoms, parts
from netjac.factors.window import window
from netjac.graph.program import Equation, Program
from netjac.rules.local import Explicit, Local, rule


@rule("transpose")
def transpose(program: Program, eqn: Equation, _operand: int, _result: int) -> Local:
    shape = program.shape(eqn.operands[0])
    inn = atoms(shape, 0)
    out = tuple(inn[axis] for axis in eqn.parameters["permutation"])
    return Explicit(Pattern(out, inn, (), proper(shape)), None, "transpose")


@rule("reshape", "squeeze", "expand_dims")
def reshape(program: Program, eqn: Equation, _operand: int, _result: int) -> Local | None:
    if eqn.parameters.get("dimensions") is not None and eqn.name == "reshape":
        return NotImplemented
    old, new = program.shape(eqn.operands[0]), program.shape(eqn.results[0])
    if common_atoms(old, new) is None:
        return NotImplemented
    return Explicit(reshaping(new, old), None, "reshape")


def reshaping(out: tuple[int, ...], inn: tuple[int, ...]) -> Pattern:
    """The identity whose two sides count the same entries under different shapes, which have common atoms."""
    refined = common_atoms(out, inn)
    assert refined is not None, "shapes that straddle each other"
    return Pattern(_grouped(out, refined), _grouped(inn, refined), (), proper(refined))


def _grouped(shape: tuple[int, ...], refined: tuple[int, ...]) -> Axes:
    """The labels of the refined atoms (sizes of 1 have none) that make up each axis."""
    axes, label = [], 0
    for pieces in parts(shape, refined):
        named = proper(pieces)
        axes.append(tuple(range(label, label + len(named))))
        label += len(named)
    return tuple(axes)


@rule("broadcast_in_dim")
def broadcast(program: Program, eqn: Equation, operand: int, _result: int) -> Local | None:
    if operand != 0:
        return NotImplemented
    old, new = program.shape(eqn.operands[0]), program.shape(eqn.results[0])
    inn = atoms(old, 0)
    sizes = list(proper(old))
    kept = dict(zip(eqn.parameters["broadcast_dimensions"], inn, strict=True))
    out: list[tuple[int, ...]] = []
    for axis, size in enumerate(new):
        if kept.get(axis) or size == 1:
            out.append(kept.get(axis, ()))
        else:
            out.append((len(sizes),))
            sizes.append(size)
    assert len(set(labels_of(tuple(out)))) == len(labels_of(tuple(out)))
    return Explicit(Pattern(tuple(out), inn, (), tuple(sizes)), None, "broadcast_in_dim")


@rule("tile")
def tile(program: Program, eqn: Equation, _operand: int, _result: int) -> Local:
    old = program.shape(eqn.operands[0])
    inn, sizes = atoms(old, 0), list(proper(old))
    out: list[tuple[int, ...]] = []
    for axis, times in zip(inn, eqn.parameters["reps"], strict=True):
        out.append(((len(sizes),) if times != 1 else ()) + axis)
        sizes.extend(proper((times,)))
    return Explicit(Pattern(tuple(out), inn, (), tuple(sizes)), None, "tile")


@rule("slice")
def part(program: Program, eqn: Equation, _operand: int, _result: int) -> Local | None:
    strides = eqn.parameters["strides"] or (1,) * len(eqn.parameters["start_indices"])
    return _read(program, eqn, strides, eqn.parameters["start_indices"])


@rule("rev")
def backwards(program: Program, eqn: Equation, _operand: int, _result: int) -> Local | None:
    shape, turned = program.shape(eqn.operands[0]), eqn.parameters["dimensions"]
    strides = [-1 if axis in turned else 1 for axis in range(len(shape))]
    return _read(program, eqn, strides, [size - 1 if axis in turned else 0 for axis, size in enumerate(shape)])


def _read(program: Program, eqn: Equation, strides: Sequence[int], starts: Sequence[int]) -> Local | None:
    """Entry p of each axis is the operand's at stride · p + start."""
    names = Names()
    out, inn, windows = [], [], []
    for axis, (old, new) in enumerate(zip(program.shape(eqn.operands[0]), program.shape(eqn.results[0]), strict=True)):
        place = names.new(new)
        out.append(place)
        if old == new and (strides[axis] == 1 or not place):
            inn.append(place)
            continue
        if new == 0:
            return NotImplemented
        label = names.new(old)
        windows.append(window(label[0], tuple((n, strides[axis]) for n in place), starts[axis], names.sizes))
        inn.append(label)
    pattern = Pattern(tuple(out), tuple(inn), (), tuple(names.sizes), tuple(windows))
    return Explicit(pattern, None, eqn.name)


@rule("concatenate")
def joined(program: Program, eqn: Equation, operand: int, _result: int) -> Local | None:
    along, shapes = eqn.parameters["dimension"], [program.shape(n) for n in eqn.operands]
    before = sum(shape[along] for shape in shapes[:operand])
    return _put(program, eqn, [((1, before) if axis == along else (1, 0)) for axis in range(len(shapes[0]))], operand)


@rule("pad")
def padded(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    if operand:
        return NotImplemented
    return _put(program, eqn, [(between + 1, low) for low, _, between in eqn.parameters["padding_config"]], operand)


def _put(program: Program, eqn: Equation, places: Sequence[tuple[int, int]], operand: int) -> Local | None:
    """Entry q of each axis of the operand goes to (stride, start): stride · q + start; the result has nothing else of it."""
    names = Names()
    out, inn, windows = [], [], []
    shapes = program.shape(eqn.operands[operand]), program.shape(eqn.results[0])
    for old, new, (stride, start) in zip(*shapes, places, strict=True):
        if 0 in (old, new):
            return NotImplemented
        own = names.new(old)
        inn.append(own)
        if old == new and start == 0 and (stride == 1 or not own):
            out.append(own)
            continue
        label = names.new(new)
        if not label:
            return NotImplemented
        windows.append(window(label[0], tuple((n, stride) for n in own), start, names.sizes))
        out.append(label)
    pattern = Pattern(tuple(out), tuple(inn), (), tuple(names.sizes), tuple(windows))
    return Explicit(pattern, None, eqn.name)


@rule("optimization_barrier", "device_put")
def one_by_one(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    if operand != result:
        return None
    return Explicit(identity(program.shape(eqn.operands[operand])), None, eqn.name)
