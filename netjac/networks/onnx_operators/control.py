"""Nodes that hold graphs (If, Loop, Scan) and nodes that make and take lists.

A branch is chosen, and the number of rounds of a Loop counted, when the network is traced: neither may depend on the data.
A Loop is written out round by round; a Scan is JAX's scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.networks.onnx_operators.folding import is_known
from netjac.networks.onnx_operators.registry import Graph, Node, integers

Control = Callable[[Any, Node, list[Any], dict[str, Any]], Any]
"""(the interpreter, the node, its inputs, all that is known around it) → its results."""


def _if(interpreter: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    (condition,) = operands
    if not is_known(condition):
        raise NotImplementedError("its condition depends on the network's inputs")
    branch = node.attributes["then_branch" if bool(np.asarray(condition).reshape(-1)[0]) else "else_branch"]
    return interpreter.run(branch, values)


def _loop(interpreter: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    """Rounds 0, 1, … of the body, states in and out, and what it gives each round stacked."""
    rounds, condition, *states = [*operands, None, None][: max(len(operands), 2)]
    body: Graph = node.attributes["body"]
    if not is_known(rounds) or not is_known(condition):
        raise NotImplementedError("its number of rounds depends on the network's inputs")
    limit = None if rounds is None else integers(rounds)[0]
    going = condition is None or bool(np.asarray(condition).reshape(-1)[0])
    stacked: list[list[Any]] = [[] for _ in body.outputs[1 + len(states) :]]
    count = 0
    while going and (limit is None or count < limit):
        given = dict(zip(body.inputs, [np.asarray(count), np.asarray(True), *states], strict=True))
        goes_on, *results = interpreter.run(body, {**values, **given})
        if not is_known(goes_on):
            raise NotImplementedError("whether it goes on depends on the network's inputs")
        going = bool(np.asarray(goes_on).reshape(-1)[0])
        states = results[: len(states)]
        for kept, value in zip(stacked, results[len(states) :], strict=True):
            kept.append(value)
        count += 1
    if any(not kept for kept in stacked):
        raise NotImplementedError("it ends before its first round, so that the shape of what it stacks is not known")
    return [*states, *(_stacked(interpreter, kept) for kept in stacked)]


def _stacked(interpreter: Any, values: list[Any]) -> Any:
    if all(is_known(value) for value in values):
        return np.stack(values)
    return jnp.stack([interpreter.placed(value) for value in values])


def _scan(interpreter: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    """States and scanned inputs, cut along their axes, into the body; its states and what it gives each step out."""
    if node.opset < 9:
        raise NotImplementedError("Scan before opset 9 has an axis of samples of its own")
    body: Graph = node.attributes["body"]
    count = node.attributes["num_scan_inputs"]
    operands = [interpreter.placed(value) for value in operands]
    states, scanned = operands[: len(operands) - count], operands[len(operands) - count :]
    given = len(body.outputs) - len(states)
    xs = tuple(
        _from_front(x, axis, direction)
        for x, axis, direction in zip(
            scanned,
            node.get("scan_input_axes", [0] * count),
            node.get("scan_input_directions", [0] * count),
            strict=True,
        )
    )

    def step(held: tuple[Any, ...], now: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        inside = dict(zip(body.inputs, (*held, *now), strict=True))
        results = [interpreter.placed(value) for value in interpreter.run(body, {**values, **inside})]
        kept = tuple(r.astype(h.dtype) for r, h in zip(results, held, strict=False))
        return kept, tuple(results[len(held) :])

    last, ys = lax.scan(step, tuple(states), xs)
    axes, directions = node.get("scan_output_axes", [0] * given), node.get("scan_output_directions", [0] * given)
    turned = (jnp.flip(y, 0) if d else y for y, d in zip(ys, directions, strict=True))
    return [*last, *(jnp.moveaxis(y, 0, axis) for y, axis in zip(turned, axes, strict=True))]


def _from_front(x: Any, axis: int, direction: int) -> Any:
    moved = jnp.moveaxis(x, axis, 0)
    return jnp.flip(moved, 0) if direction else moved


def _construct(_: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    return [list(operands)]


def _empty(_: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    return [[]]


def _place(operands: list[Any], which: int, default: int) -> int:
    if len(operands) <= which or operands[which] is None:
        return default
    if not is_known(operands[which]):
        raise NotImplementedError("its position depends on the network's inputs")
    return integers(operands[which])[0]


def _at(_: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    return [operands[0][_place(operands, 1, 0)]]


def _insert(_: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    held = list(operands[0])
    held.insert(_place(operands, 2, len(held)), operands[1])
    return [held]


def _erase(_: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    held = list(operands[0])
    del held[_place(operands, 1, -1)]
    return [held]


def _length(_: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    return [np.asarray(len(operands[0]), np.int64)]


def _split(interpreter: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    x, axis = interpreter.placed(operands[0]), node.get("axis", 0)
    if len(operands) < 2:
        keeps = bool(node.get("keepdims", 1))
        parts = jnp.split(x, x.shape[axis], axis)
        return [parts if keeps else [part.squeeze(axis) for part in parts]]
    sizes = np.asarray(operands[1])
    if sizes.ndim:
        return [jnp.split(x, np.cumsum(sizes)[:-1], axis)]
    size = int(sizes)
    return [jnp.split(x, list(range(size, x.shape[axis], size)), axis)]


def _joined(interpreter: Any, node: Node, operands: list[Any], values: dict[str, Any]) -> list[Any]:
    parts, axis = interpreter.placed(operands[0]), node.attributes["axis"]
    return [jnp.stack(parts, axis) if node.get("new_axis", 0) else jnp.concatenate(parts, axis)]


CONTROL: dict[str, Control] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceAt": _at,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceLength": _length,
    "SplitToSequence": _split,
    "ConcatFromSequence": _joined,
}
