"""Operators that ONNX itself defines as functions of others (Attention, RotaryEmbedding, CenterCropPad, …), as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from netjac.networks.onnx_graph import nodes_of, opsets_of
from netjac.networks.onnx_operators.registry import Graph, Node


def expanded(node: Node, operands: Sequence[Any]) -> Graph | None:
    """The operator's body, its attributes filled in; None where ONNX has none."""
    try:
        schema: Any = onnx.defs.get_schema(node.kind, node.opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    function = onnx.FunctionProto()
    if schema.has_function:
        function.CopyFrom(schema.function_body)
    elif schema.has_context_dependent_function:
        types = [_type(value).SerializeToString() for value in operands]
        function.ParseFromString(schema.get_context_dependent_function(node.proto.SerializeToString(), types))
    else:
        return None
    return _graph(function, node, schema)


def _type(value: Any) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), value.shape)


def _graph(function: Any, node: Node, schema: Any) -> Graph:
    given = {a.name: a for a in node.proto.attribute}
    defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    for inner in function.node:
        _fill(inner, {**defaults, **given})
    nodes = nodes_of(function.node, opsets_of(function), function.output)
    named = tuple(
        Node(n.kind, n.domain, n.opset, f"{node.name}/{n.name}", n.inputs, n.outputs, n.attributes, n.proto)
        for n in nodes
    )
    wanted = tuple(name if node.gives(place) else "" for place, name in enumerate(function.output))
    return Graph(named, tuple(function.input), wanted, {})


def _fill(inner: Any, attributes: dict[str, Any]) -> None:
    """References to the function's attributes replaced by what they refer to; without a value, left out."""
    for attribute in list(inner.attribute):
        if not attribute.ref_attr_name:
            continue
        source, name = attributes.get(attribute.ref_attr_name), attribute.name
        inner.attribute.remove(attribute)
        if source is not None:
            made = inner.attribute.add()
            made.CopyFrom(source)
            made.name = name
