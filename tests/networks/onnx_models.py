"""ONNX models written node by node, and their values by ONNX Runtime."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from netjac.networks.onnx import OnnxNetwork


def model(nodes, inputs, outputs, arrays=None, *, opset=20, domains=(), **more):
    """A `ModelProto` of nodes, inputs by name and shape (strings for sizes that are open), and arrays by name.

    A shape's dtype is float32, unless the pair (shape, dtype) is given. `domains` are further pairs of domain and version.
    """
    graph = helper.make_graph(
        nodes,
        "net",
        [_declared(name, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (arrays or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(*domain) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, **more)


def _declared(name, shape):
    shape, dtype = (
        shape if isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], str) else (shape, "float32")
    )
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))


def one(kind, shapes, arrays=None, *, opset=20, domains=(), outputs=("y",), domain="", **attributes):
    """A model of one node: moving inputs x0, x1, … of the given shapes, then the arrays; "" leaves an input out."""
    names = [f"x{i}" for i in range(len(shapes))]
    arrays = arrays or {}
    taken = [*names, *(name if array is not None else "" for name, array in arrays.items())]
    node = helper.make_node(kind, taken, list(outputs), name="node", domain=domain, **attributes)
    known = {name: array for name, array in arrays.items() if array is not None}
    return model([node], dict(zip(names, shapes, strict=True)), outputs, known, opset=opset, domains=domains)


def by_runtime(proto, *arrays):
    """The outputs by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {given.name: array for given, array in zip(session.get_inputs(), arrays, strict=True)})


def perceptron(rng, sizes=(5, 8, 3), batch="samples"):
    """Gemm, Tanh, Gemm, Softmax, with transposed weights as torch exports them."""
    arrays = {
        "first.weight": rng.standard_normal((sizes[1], sizes[0])),
        "first.bias": rng.standard_normal(sizes[1]),
        "last.weight": rng.standard_normal((sizes[2], sizes[1])),
        "last.bias": rng.standard_normal(sizes[2]),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["z"], name="first", transB=1),
        helper.make_node("Tanh", ["z"], ["h"]),
        helper.make_node("Gemm", ["h", "last.weight", "last.bias"], ["scores"], name="last", transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], name="softmax", axis=-1),
    ]
    given = {name: array.astype("float32") for name, array in arrays.items()}
    return model(nodes, {"x": (batch, sizes[0])}, ["probabilities"], given)


def numbers(*shape, seed=5):
    """Random numbers, the same for a shape, none of them near 0, where many an operator has its kink or its pole."""
    drawn = np.random.default_rng((seed, *shape)).standard_normal(shape)
    return (drawn + 0.2 * np.sign(drawn)).astype("float32")


def held(proto, *arrays, rtol=2e-4, atol=2e-5):
    """Every output beside ONNX Runtime's."""
    network = OnnxNetwork(proto)
    found = jax.jit(network.prepare([]))(network.parameters, tuple(map(jnp.asarray, arrays)))
    for y, expected in zip(found, by_runtime(proto, *arrays), strict=True):
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol, atol)
