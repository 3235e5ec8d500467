"""ONNX models as graphs of plain data: nodes with their attributes, the arrays that they hold, what is learned of those.

ONNX does not say which of a model's arrays were learned. Float initializers are taken as parameters but for those that are
settings of an operation (an exponent, a bound, the scales of a Resize), single numbers without an axis, and what torch's
exporter marks as a constant; running statistics are parameters that are not trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.inliner import inline_local_functions

from netjac.errors import ModelLoadError, UnsupportedOperationError
from netjac.networks.network import Spec
from netjac.networks.onnx_operators.registry import RULES, Graph, Node

FLOATING = ("float16", "bfloat16", "float32", "float64")
TORCH_KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
ENTRYWISE = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Expand", "Less", "Greater", "Equal"})


@dataclass(frozen=True, eq=False)
class Model:
    """A model's graph without its parameters, its inputs as declared, its outputs' names, and its parameters."""

    graph: Graph
    inputs: tuple[Spec, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, np.ndarray]
    trainable: frozenset[str]


def read(proto: onnx.ModelProto) -> Model:
    """The model of a `ModelProto`, functions of its own inlined. Raises `ModelLoadError`, `UnsupportedOperationError`."""
    if not proto.graph.node or not proto.opset_import:
        raise ModelLoadError("the ONNX model has no nodes, or names no opset; it is empty or was not read whole")
    if proto.functions:
        proto = inline_local_functions(proto)
    outputs = _numeric(proto.graph)
    whole = graph_of(proto.graph, opsets_of(proto), outputs)
    graph = _needed(whole, outputs)
    kinds = _marked_by_torch(proto.graph)
    learned, trained = _sorted_out(graph, kinds)
    rest = {name: array for name, array in graph.arrays.items() if name not in learned}
    inputs = tuple(_spec(i) for i in proto.graph.input if i.name not in whole.arrays)
    _refuse_unmade(graph, (*(spec.name for spec in inputs), *whole.arrays))
    own = Graph(graph.nodes, tuple(spec.name for spec in inputs), outputs, rest)
    return Model(own, inputs, outputs, learned, trained)


def opsets_of(proto: Any) -> dict[str, int]:
    """Domain → version of the operators that a model or a function was written with."""
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in proto.opset_import}


def graph_of(proto: Any, opsets: Mapping[str, int], wanted: tuple[str, ...] | None = None) -> Graph:
    """A `GraphProto` as plain data, of all its outputs or those `wanted`. Raises `UnsupportedOperationError`."""
    if proto.sparse_initializer:
        name = proto.sparse_initializer[0].values.name
        raise UnsupportedOperationError(f"initializer {name!r} is sparse, which is not read; store it as a dense one")
    arrays = {array.name: numpy_helper.to_array(array) for array in proto.initializer}
    outputs = tuple(value.name for value in proto.output) if wanted is None else wanted
    nodes = nodes_of(proto.node, opsets, outputs)
    return Graph(nodes, tuple(value.name for value in proto.input), outputs, arrays)


def nodes_of(protos: Iterable[Any], opsets: Mapping[str, int], outputs: Iterable[str]) -> tuple[Node, ...]:
    """`NodeProto`s as nodes, with "" for the outputs that nobody uses."""
    protos = list(protos)
    used = {*outputs, *(name for proto in protos for name in _taken(proto))}
    return tuple(_node(proto, opsets, used) for proto in protos)


def _taken(proto: Any) -> Iterator[str]:
    """What a node takes, and what the graphs in its attributes take."""
    yield from proto.input
    for attribute in proto.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _taken(inner)


def _node(proto: Any, opsets: Mapping[str, int], used: set[str]) -> Node:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    made = tuple(name if name in used else "" for name in proto.output)
    first = next((name for name in proto.output if name), "")
    title = proto.name or first or proto.op_type
    attributes = {a.name: _value(a, opsets) for a in proto.attribute}
    return Node(proto.op_type, domain, opsets.get(domain, 0), title, tuple(proto.input), made, attributes, proto)


def _value(attribute: Any, opsets: Mapping[str, int]) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.GraphProto):
        return graph_of(value, opsets)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [entry.decode("utf-8", "replace") for entry in value]
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _numeric(graph: Any) -> tuple[str, ...]:
    """The outputs that are arrays of numbers; a map of classes to scores is taken as the array it is made of."""
    maps = {name for node in graph.node if node.op_type == "ZipMap" for name in node.output}
    kept = [o.name for o in graph.output if o.name in maps or _is_array(o)]
    if not kept:
        raise UnsupportedOperationError("none of the model's outputs is an array of numbers")
    return tuple(kept)


def _is_array(value: Any) -> bool:
    given = value.type.WhichOneof("value") in (None, "tensor_type")
    return given and value.type.tensor_type.elem_type != onnx.TensorProto.STRING


def _needed(graph: Graph, outputs: tuple[str, ...]) -> Graph:
    """The graph without what its outputs do not follow from."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs) - {""}:
            kept.append(node)
            wanted.update(_taken(node.proto))
    arrays = {name: array for name, array in graph.arrays.items() if name in wanted}
    return Graph(tuple(reversed(kept)), graph.inputs, outputs, arrays)


def _refuse_unmade(graph: Graph, given: Iterable[str]) -> None:
    known = set(given)
    for node in graph.nodes:
        lacking = [name for name in node.inputs if name and name not in known]
        if lacking:
            raise ModelLoadError(
                f"{node.title} takes {lacking[0]!r}, which nothing before it makes; the file is damaged"
            )
        known.update(node.outputs)
    lost = [name for name in graph.outputs if name not in known]
    if lost:
        raise ModelLoadError(f"nothing makes the output {lost[0]!r} of the model; the file is damaged")


def _spec(value: Any) -> Spec:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type == onnx.TensorProto.STRING:
        raise UnsupportedOperationError(f"input {value.name!r} is no array of numbers; cut the model behind it")
    dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return Spec(value.name, None, dtype)
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return Spec(value.name, tuple(sizes), dtype)


def _marked_by_torch(graph: Any) -> dict[str, str]:
    """Initializer → "PARAMETER", "BUFFER" or "CONSTANT_TENSOR", where torch's exporter says so."""
    found = {}
    for value in (*graph.value_info, *graph.input):
        said = [entry.value for entry in value.metadata_props if entry.key == TORCH_KIND]
        if said:
            found[value.name] = said[0]
    return found


def _sorted_out(graph: Graph, kinds: Mapping[str, str]) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """The parameters, and the names of those that are trained."""
    uses: dict[str, list[tuple[Node, int]]] = {name: [] for name in graph.arrays}
    for node in graph.everywhere():
        for place, name in enumerate(node.inputs):
            if name in uses:
                uses[name].append((node, place))
    learned = {
        name: array
        for name, array in graph.arrays.items()
        if str(array.dtype) in FLOATING and uses[name] and not _is_constant(array, uses[name], kinds, kinds.get(name))
    }
    still = {n for n in learned if all(u.kind == "BatchNormalization" and place > 2 for u, place in uses[n])}
    return learned, frozenset(n for n in learned if n not in still and kinds.get(n) != "BUFFER")


def _is_constant(array: np.ndarray, uses: list[tuple[Node, int]], kinds: Mapping[str, str], kind: str | None) -> bool:
    rules = [(RULES.get((node.domain, node.kind)), place) for node, place in uses]
    if any(rule is not None and rule.is_fixed(place) for rule, place in rules):
        return True
    if kind is not None:
        return kind == "CONSTANT_TENSOR"
    return array.ndim == 0 or (bool(kinds) and array.size == 1 and all(node.kind in ENTRYWISE for node, _ in uses))
