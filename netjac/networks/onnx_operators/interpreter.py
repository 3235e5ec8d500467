"""Running an ONNX graph in JAX, every node's output marked by the node's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import NetjacError, StochasticNetworkError, UnsupportedOperationError
from netjac.networks.onnx_operators.control import CONTROL
from netjac.networks.onnx_operators.expansion import expanded
from netjac.networks.onnx_operators.folding import by_type, folded, is_known
from netjac.networks.onnx_operators.refused import RANDOM, REFUSED
from netjac.networks.onnx_operators.registry import RULES, DrawsError, Graph, Node, Rule
from netjac.points import mark

Values = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Interpreter:
    """Runs graphs in the floating dtype of the computation, `dtype`."""

    dtype: Any

    def run(self, graph: Graph, given: Mapping[str, Any], marked: bool = False) -> list[Any]:
        """The outputs of a graph. `given` are its inputs by name and, for a graph inside a node, what is known around it.

        A value is a JAX array where it depends on inputs or parameters, else a NumPy array, or a list of those. With
        `marked` the nodes' outputs are points that can be asked for.
        """
        values = {**given, **graph.arrays}
        for node in graph.nodes:
            results = self.results(node, values)
            if marked:
                results = _marked(node, results)
            values.update({name: result for name, result in zip(node.outputs, results, strict=False) if name})
        return [values[name] if name else None for name in graph.outputs]

    def results(self, node: Node, values: Values) -> Sequence[Any]:
        """What one node gives, one entry for each of its outputs."""
        operands = [values[name] if name else None for name in node.inputs]
        while operands and operands[-1] is None:
            operands.pop()
        if node.kind in CONTROL and not node.domain:
            return _guarded(node, lambda: CONTROL[node.kind](self, node, operands, values))
        typed = by_type(node, operands)
        if typed is not None:
            return [typed]
        if all(is_known(value) for value in operands):
            known = _guarded(node, lambda: folded(node, operands + [None] * (len(node.inputs) - len(operands))))
            if known is not None:
                return known
        rule = RULES.get((node.domain, node.kind))
        if rule is None:
            return self._expanded(node, operands)
        return _guarded(node, lambda: _listed(node, rule.apply(node, *self._given(node, rule, operands))))

    def _expanded(self, node: Node, operands: list[Any]) -> Sequence[Any]:
        """What an operator gives that ONNX defines by others."""
        graph = None if (node.domain, node.kind) in REFUSED else expanded(node, operands)
        if graph is None:
            raise refusal(node)
        inner = dict(zip(graph.inputs, operands, strict=False))
        inner.update(dict.fromkeys(graph.inputs[len(operands) :]))
        return self.run(graph, inner)

    def _given(self, node: Node, rule: Rule, operands: list[Any]) -> list[Any]:
        found = []
        for place, value in enumerate(operands):
            if place in rule.known or -1 in rule.known:
                if not is_known(value):
                    raise NotImplementedError(f"its input {node.inputs[place]!r} depends on the network's inputs")
                found.append(value)
            elif place in rule.fixed and is_known(value):
                found.append(value)
            else:
                found.append(self.placed(value))
        return found

    def placed(self, value: Any) -> Any:
        """A known array as JAX's, in the dtype of the computation; one of equal entries as a number spread out."""
        if isinstance(value, list):
            return [self.placed(entry) for entry in value]
        if not isinstance(value, np.ndarray):
            return value
        floating = jnp.issubdtype(value.dtype, jnp.floating)
        if floating and self.dtype is not None:
            value = value.astype(self.dtype)
        if value.size > 1 and (value == value.flat[0]).all():
            return jnp.full(value.shape, value.flat[0])
        return jnp.asarray(value)


def _guarded(node: Node, call: Any) -> Any:
    """The rule's results; what goes wrong in it as an error that names the node."""
    try:
        return call()
    except NetjacError:
        raise
    except DrawsError:
        raise refusal(node, draws=True) from None
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise refusal(node, reason) from error


def _listed(node: Node, results: Any) -> Sequence[Any]:
    return results if isinstance(results, tuple) else (results,)


def refusal(node: Node, reason: str = "", draws: bool = False) -> Exception:
    """The error for a node that has no rule, draws random numbers, or is used in a way that its rule does not take."""
    if draws or node.kind in RANDOM:
        return StochasticNetworkError(
            f"{node.title} draws random numbers, so the network has no single Jacobian. Export the model in eval mode, or "
            "take the node out"
        )
    why = REFUSED.get((node.domain, node.kind), "")
    told = f"cannot be followed here: {reason}" if reason else f"is refused: {why}" if why else "has no rule"
    return UnsupportedOperationError(
        f"{told_of(node)} {told}. Cut the model before it (onnx.utils.extract_model), replace the operation, or give the "
        "network in the framework that it was exported from"
    )


def told_of(node: Node) -> str:
    """The node's title; without opset, an import that the model lacks."""
    return node.title if node.opset else f"{node.title[:-1]}: the model imports no opset of {node.domain!r})"


def _marked(node: Node, results: Sequence[Any]) -> list[Any]:
    """Floating outputs as points: the first by the node's name, the next as `name.1`, …"""
    found = list(results)
    for place, value in enumerate(found):
        if node.gives(place) and isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.inexact):
            found[place] = mark(value, f"{node.name}.{place}" if place else node.name)
    return found
