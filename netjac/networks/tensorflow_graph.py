"""A concrete function of TensorFlow in the shape in which it is handed to tf2jax.

Left out are nodes that do not reach the outputs. The floating dtype may be another than the graph was made with.
Inputs and outputs are flat. A custom gradient that only saves memory (`tf.nn.silu`) is dropped, so that tangents can be
pushed through as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from netjac.networks.trees import unique


class PreparedGraph:
    """Takes the place of both the `tf.function` and its concrete function; `dtypes` is (old, new), or None."""

    def __init__(self, concrete: Any, dtypes: tuple[str, str] | None) -> None:
        import tensorflow as tf

        self._concrete = concrete
        names = [tensor.op.name for tensor in concrete.outputs]
        self.graphdef = concrete.graph.as_graph_def()
        _prune(self.graphdef, names)
        for nodes in _bodies(self.graphdef):
            _drop_silu_gradients(nodes)
        if dtypes is not None:
            _change_dtype(self.graphdef, tf.as_dtype(dtypes[0]), tf.as_dtype(dtypes[1]))
        self.graph = _GraphWith(concrete.graph, self.graphdef)
        free = concrete.inputs[: len(concrete.inputs) - len(concrete.captured_inputs)]
        specs = tuple(tf.TensorSpec(tensor.shape, tensor.dtype, tensor.op.name) for tensor in free)
        self.structured_input_signature: tuple[tuple[Any, ...], dict[str, Any]] = (specs, {})
        self.structured_outputs = tuple(concrete.outputs)
        self.function_spec = SimpleNamespace(fullargspec=inspect.FullArgSpec([], "inputs", None, None, [], None, {}))

    def get_concrete_function(self, *_: Any) -> PreparedGraph:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._concrete, name)


class _GraphWith:
    """A graph whose definition is another."""

    def __init__(self, graph: Any, graphdef: Any) -> None:
        self._graph, self._graphdef = graph, graphdef

    def as_graph_def(self) -> Any:
        return self._graphdef

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)


def variables_of(concrete: Any) -> dict[str, Any]:
    """The variables that the function captures, by name; repeated names as `name~2`, …"""
    taken: set[str] = set()
    return {unique(variable.name.partition(":")[0], taken): variable for variable in _captured(concrete)}


def converted_names(concrete: Any) -> list[str]:
    """The same variables' names in tf2jax, in the same order."""
    taken: set[str] = set()
    names = []
    for variable in _captured(concrete):
        name = stem = variable.name.partition(":")[0].removeprefix("^")
        count = 1
        while name in taken:
            name, count = f"{stem}_{count}", count + 1
        taken.add(name)
        names.append(name)
    return names


def nodes_of(graphdef: Any) -> Iterator[Any]:
    """All nodes, those of the functions inside included."""
    for nodes in _bodies(graphdef):
        yield from nodes


def _captured(concrete: Any) -> list[Any]:
    import tensorflow as tf

    by_handle = {variable.handle.ref(): variable for variable in concrete.variables}
    found: dict[Any, Any] = {}
    for tensor in concrete.captured_inputs:
        if tensor.dtype == tf.resource:
            found.setdefault(tensor.ref(), by_handle[tensor.ref()])
    return list(found.values())


def _bodies(graphdef: Any) -> Iterator[Any]:
    yield graphdef.node
    for function in graphdef.library.function:
        yield function.node_def


def _prune(graphdef: Any, outputs: list[str]) -> None:
    """Leaves out the nodes that no output needs."""
    inputs = {node.name: node.input for node in graphdef.node}
    needed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(edge.removeprefix("^").partition(":")[0] for edge in inputs[name])
    kept = [node for node in graphdef.node if node.name in needed]
    del graphdef.node[:]
    graphdef.node.extend(kept)


def _drop_silu_gradients(nodes: Any) -> None:
    """Makes a plain identity of x·sigmoid(βx) with the gradient that TensorFlow wraps around it."""
    by_name = {node.name: node for node in nodes}

    def source(edge: str) -> Any:
        return by_name.get(edge.partition(":")[0])

    for node in nodes:
        if node.op != "IdentityN" or len(node.input) not in (2, 3):
            continue
        product, x = source(node.input[0]), node.input[1]
        if product is None or product.op != "Mul" or x not in product.input:
            continue
        gates = [source(edge) for edge in product.input if edge != x]
        if len(gates) == 1 and gates[0] is not None and gates[0].op == "Sigmoid":
            scaled = source(gates[0].input[0])
            if gates[0].input[0] == x or (scaled is not None and scaled.op == "Mul" and x in scaled.input):
                dtype = node.attr["T"].list.type[0]
                node.op = "Identity"
                del node.input[1:]
                node.attr.clear()
                node.attr["T"].type = dtype


def _change_dtype(graphdef: Any, old: Any, new: Any) -> None:
    import tensorflow as tf

    was, becomes = old.as_datatype_enum, new.as_datatype_enum
    for node in nodes_of(graphdef):
        for attribute in node.attr.values():
            if attribute.type == was:
                attribute.type = becomes
            for i, item in enumerate(attribute.list.type):
                if item == was:
                    attribute.list.type[i] = becomes
            if attribute.tensor.dtype == was:
                values = tf.make_ndarray(attribute.tensor).astype(new.as_numpy_dtype)
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values, new, values.shape))
    for function in graphdef.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type == was:
                argument.type = becomes
