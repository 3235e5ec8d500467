"""What does not depend on inputs or parameters is worked out when a network is traced, in NumPy, by ONNX's own reference.

So are the shapes that exporters compute node by node (Shape → Gather → Concat → Reshape): a Reshape finds numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from netjac.networks.onnx_operators.registry import Node

UNTOUCHED = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def is_known(value: Any) -> bool:
    """Whether a value is a plain array, the same for every input; None, for an input that is left out, is too."""
    return value is None or isinstance(value, np.ndarray)


def by_type(node: Node, operands: Sequence[Any]) -> np.ndarray | None:
    """The result of a node that asks an input for its shape or its type alone, whatever its entries are."""
    if node.domain or node.kind not in ("Shape", "Size", "CastLike"):
        return None
    x = operands[0]
    if node.kind == "CastLike":
        return x.astype(operands[1].dtype) if isinstance(x, np.ndarray) else None
    if node.kind == "Size":
        return np.asarray(np.prod(x.shape, dtype=np.int64))
    return np.asarray(x.shape[node.get("start", 0) : node.get("end")], np.int64)


def folded(node: Node, operands: Sequence[Any]) -> list[Any] | None:
    """The node's results; None where ONNX's reference does not have the operator."""
    if node.kind in UNTOUCHED:
        return None
    values = {name: value for name, value in zip(node.inputs, operands, strict=True) if name}
    made = [name for name in node.outputs if name]
    graph = onnx.GraphProto(name="folded")
    graph.node.append(node.proto)
    graph.input.extend(helper.make_value_info(name, onnx.TypeProto()) for name in values)
    graph.output.extend(helper.make_value_info(name, onnx.TypeProto()) for name in made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, node.opset)])
    try:
        results = ReferenceEvaluator(model).run(None, values)
    except (NotImplementedError, RuntimeError):
        return None
    by_name = dict(zip(made, results, strict=True))
    return [_plain(by_name[name]) if name else None for name in node.outputs]


def _plain(value: Any) -> Any:
    return [np.asarray(entry) for entry in value] if isinstance(value, list) else np.asarray(value)
