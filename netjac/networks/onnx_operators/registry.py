"""The table of rules, by domain and operator, and what a rule is told of the node that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ML = "ai.onnx.ml"


class DrawsError(Exception):
    """A rule was asked to draw random numbers; the interpreter says so of the node."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of a graph. An input that is left out is ""; so is an output that nothing uses.

    `attributes` hold numbers, strings, lists, NumPy arrays and `Graph`s, without the operator's defaults. `opset` is the
    version of the node's domain that its graph was written for. `proto` is the node as ONNX has it.
    """

    kind: str
    domain: str
    opset: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: Any

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the operator's default for it."""
        return self.attributes.get(name, default)

    def gives(self, place: int) -> bool:
        """Whether anything uses this output."""
        return place < len(self.outputs) and bool(self.outputs[place])

    @property
    def title(self) -> str:
        """What errors call it: "node 'pool' (MaxPool of opset 12)"."""
        domain = "" if not self.domain else f" of {self.domain}"
        return f"node {self.name!r} ({self.kind}{domain}, opset {self.opset})"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can be evaluated, with the arrays that the graph itself holds."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arrays: dict[str, np.ndarray]

    def everywhere(self) -> Iterator[Node]:
        """Its nodes, and those of the graphs in their attributes."""
        for node in self.nodes:
            yield node
            for value in node.attributes.values():
                if isinstance(value, Graph):
                    yield from value.everywhere()


@dataclass(frozen=True, eq=False)
class Rule:
    """The JAX function for an operator, `apply(node, *inputs)`, None for an input that is left out.

    `known` inputs must be there as NumPy arrays when the network is traced (shapes, axes, sizes); `fixed` ones are taken so
    where they can be (bounds, exponents). Initializers at such places are constants, no parameters.
    """

    apply: Callable[..., Any]
    known: tuple[int, ...]
    fixed: tuple[int, ...]

    def is_fixed(self, place: int) -> bool:
        """Whether a float initializer at this place is a constant; −1 stands for all places."""
        return place in self.known or place in self.fixed or -1 in self.known


RULES: dict[tuple[str, str], Rule] = {}


def operator(
    *names: str, domain: str = "", known: tuple[int, ...] = (), fixed: tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the rule of one or several operators."""

    def register(apply: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            RULES[domain, name] = Rule(apply, known, fixed)
        return apply

    return register


def integers(array: Any) -> list[int]:
    """A known array of integers as Python's."""
    return [int(entry) for entry in np.asarray(array).reshape(-1)]


def index_type() -> Any:
    """int64, narrowed to 32 bits where JAX is."""
    return jax.dtypes.canonicalize_dtype(jnp.int64)


def places(axes: Any, rank: int) -> tuple[int, ...]:
    """Axes counted from the front; `None` stands for all."""
    return tuple(range(rank)) if axes is None else tuple(axis + rank if axis < 0 else axis for axis in integers(axes))
