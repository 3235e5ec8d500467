"""Where a layer's activation begins: the value that `"name.pre"` means.

Going back from the layer's output through the values that everything later in the layer passes, the pre-activation is
the first that a contraction, a convolution or the addition of a parameter made. A layer without such a thing (a bare
activation) has its input as its pre-activation; one that ends in it (a linear layer), its output.
"""

from __future__ import annotations

from netjac.graph.program import Equation, Program

LINEAR = frozenset({"dot_general", "conv_general_dilated"})


def preactivation(program: Program, layers: dict[str, int], layer: str, parameters: set[int]) -> int:
    """The value before the activation of a layer."""
    value = program.equations[program.producer[layers[layer]]].operands[0]
    depends = dependent(program, set(program.inputs) - parameters)
    fixed = _of_parameters(program, parameters)
    marked = set(layers.values())
    while value in program.producer and value not in marked:
        eqn = program.equations[program.producer[value]]
        if _affine(eqn, fixed):
            return value
        before = _last_common(program, value, depends, marked)
        if before is None:
            return value
        value = before
    return value


def _affine(eqn: Equation, fixed: set[int]) -> bool:
    return eqn.name in LINEAR or (eqn.name in ("add", "sub") and any(n in fixed for n in eqn.operands))


def dependent(program: Program, inputs: set[int]) -> set[int]:
    """The values that depend on any of the inputs."""
    found = set(inputs)
    for eqn in program.equations:
        if found.intersection(eqn.operands):
            found.update(eqn.results)
    return found


def _of_parameters(program: Program, parameters: set[int]) -> set[int]:
    """Parameters and what is computed from them alone."""
    found = set(parameters)
    literal = set(program.literals) | set(program.constants)
    for eqn in program.equations:
        if found.intersection(eqn.operands) and all(n in found or n in literal for n in eqn.operands):
            found.update(eqn.results)
    return found


def _last_common(program: Program, value: int, depends: set[int], marked: set[int]) -> int | None:
    """The latest value before `value` that every path to it passes: its immediate dominator, if it has one."""
    order = {n: i for i, n in enumerate((*program.inputs, *(r for eqn in program.equations for r in eqn.results)))}
    frontier = {n for n in program.equations[program.producer[value]].operands if n in depends}
    while len(frontier) > 1:
        latest = max(frontier, key=lambda n: order[n])
        if latest in marked or latest not in program.producer:
            return latest
        frontier.remove(latest)
        frontier.update(n for n in program.equations[program.producer[latest]].operands if n in depends)
    return frontier.pop() if frontier else None
