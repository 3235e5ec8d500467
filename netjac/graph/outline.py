"""A program seen from afar: its named layers, and which of them each is computed from.

    x → dense → relu → add(relu, x)        dense from x; relu from dense; add from relu and x

A layer's sources are the nearest layers or inputs before it. A container (a model inside the model, a block) whose value is
that of the last layer inside it is no node of its own but another name of that layer; one that computes something itself
(adds what went around it) is a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netjac.graph.program import Program
from netjac.points import PRIMITIVE as POINT

SEPARATORS = (".", "/", "#")


@dataclass(frozen=True)
class Node:
    """An input, a layer or an unnamed output: its number in the program, its nearest nodes before it, its other names.

    `equations` are those between the sources and the node; none for an input.
    """

    name: str
    value: int
    sources: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    equations: tuple[int, ...] = ()
    is_input: bool = False
    is_output: bool = False


def outline(
    program: Program, inputs: Mapping[str, int], layers: Mapping[str, int], outputs: Mapping[str, int]
) -> dict[str, Node]:
    """The nodes by name, in an order in which they can be computed; sources come before what is computed from them."""
    heads, also = _heads(program, inputs, layers, outputs)
    ends = {value: name for name, value in heads.items()}
    reached = {_unnamed(program, value, ends) for value in outputs.values()}
    found = {name: Node(name, value, is_input=True, is_output=value in reached) for name, value in inputs.items()}
    near: dict[int, dict[str, None]] = {value: {name: None} for value, name in ends.items() if name in found}
    between: dict[int, set[int]] = {}
    for index, eqn in enumerate(program.equations):
        sources = dict.fromkeys(name for n in eqn.operands for name in near.get(n, ()))
        passed = {index}.union(*(between.get(n, ()) for n in eqn.operands))
        for result in eqn.results:
            if result not in ends:
                near[result], between[result] = sources, passed
                continue
            name = ends[result]
            near[result] = {name: None}
            found[name] = Node(
                name, result, tuple(sources), tuple(also.get(name, ())), tuple(sorted(passed)),
                is_output=result in reached,
            )  # fmt: skip
    return found


def _heads(
    program: Program, inputs: Mapping[str, int], layers: Mapping[str, int], outputs: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """The values that are nodes, by name, and the other names of some."""
    heads = dict(inputs)
    also: dict[str, list[str]] = {}
    ends = {value: name for name, value in inputs.items()}
    for name, value in sorted(layers.items(), key=lambda item: program.producer[item[1]]):
        inner = ends.get(_unnamed(program, program.equations[program.producer[value]].operands[0], ends))
        if inner is not None and inner.startswith(tuple(name + mark for mark in SEPARATORS[:2])):
            also.setdefault(inner, []).append(name)
            continue
        heads[name] = value
        ends[value] = name
    for name, value in outputs.items():
        if _unnamed(program, value, ends) not in ends:
            free = name if name not in heads else f"{name} (output)"
            heads[free] = value
            ends[value] = free
    return heads, also


def _unnamed(program: Program, value: int, ends: Mapping[int, str]) -> int:
    """The node that a value is another name of; itself where it is none."""
    while value not in ends and value in program.producer:
        eqn = program.equations[program.producer[value]]
        if eqn.name != POINT:
            break
        value = eqn.operands[0]
    return value
