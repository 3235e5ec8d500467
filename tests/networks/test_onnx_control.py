"""What a graph works out when it is traced: shapes, branches, rounds of loops; scans and lists."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import netjac as nj
from netjac.errors import UnsupportedOperationError
from netjac.networks.onnx_graph import nodes_of
from netjac.networks.onnx_operators.folding import folded
from netjac.networks.onnx_operators.registry import RULES
from netjac.precision import precise
from tests.networks.onnx_models import held, model, numbers


def test_shapes_are_worked_out_when_traced():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "first"], ["row"]),
        helper.make_node("Concat", ["row", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("ConstantOfShape", ["row"], ["ones"], value=numpy_helper.from_array(np.ones(1, "float32"))),
        helper.make_node("Range", ["zero", "count", "one"], ["steps"]),
        helper.make_node("Cast", ["steps"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sum", ["ones", "real"], ["weights"]),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["flat", "column"], ["y"]),
    ]
    arrays = {
        "zero": np.array(0),
        "one": np.array(1),
        "first": np.array([0]),
        "last": np.array([1]),
        "rest": np.array([-1]),
    }
    proto = model(nodes, {"x": ("b", 2, 3)}, ["y"], arrays)
    for count in (1, 4):
        held(proto, numbers(count, 2, 3))
    J = nj.jacobian(proto, numbers(4, 2, 3))
    np.testing.assert_allclose(J.to_numpy()[3].reshape(6, 6), 4 * np.eye(6), rtol=1e-6)


def test_branches_and_loops():
    def graph(nodes, inputs, outputs):
        declared = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
        return helper.make_graph(
            nodes, "inner", [helper.make_value_info(n, onnx.TypeProto()) for n in inputs], declared
        )

    body = graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Mul", ["state", "x"], ["next"]),
            helper.make_node("Identity", ["next"], ["kept"]),
        ],
        ["round", "going", "state"],
        ["goes_on", "next", "kept"],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "x"], ["power", "powers"], body=body)
    chosen = helper.make_node(
        "If",
        ["no"],
        ["y"],
        then_branch=graph([helper.make_node("Exp", ["x"], ["a"])], [], ["a"]),
        else_branch=graph([helper.make_node("ReduceSum", ["powers", "axis"], ["b"], keepdims=0)], [], ["b"]),
    )
    arrays = {"rounds": np.array(3), "yes": np.array(True), "no": np.array(False), "axis": np.array([0])}
    proto = model([loop, chosen], {"x": ("b", 2)}, ["y"], arrays)
    x = numbers(3, 2)
    y, J = nj.value_and_jacobian(proto, x)
    np.testing.assert_allclose(y, x**2 + x**3 + x**4, rtol=1e-5)
    diagonal = np.einsum("bii->bi", J.to_numpy())
    np.testing.assert_allclose(diagonal, 2 * x + 3 * x**2 + 4 * x**3, rtol=1e-5)


def test_scans_and_lists():
    step = helper.make_graph(
        [helper.make_node("Add", ["state", "now"], ["next"]), helper.make_node("Tanh", ["next"], ["out"])],
        "step",
        [helper.make_value_info(name, onnx.TypeProto()) for name in ("state", "now")],
        [helper.make_value_info(name, onnx.TypeProto()) for name in ("next", "out")],
    )
    nodes = [
        helper.make_node("SplitToSequence", ["x", "two"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "last"], ["part"]),
        helper.make_node(
            "Scan",
            ["start", "part"],
            ["end", "y"],
            body=step,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        ),
    ]
    arrays = {"two": np.array(2), "last": np.array(-1), "start": np.zeros((3, 4), "float32")}
    proto = model(nodes, {"x": (3, 6, 4)}, ["y"], arrays)
    x = numbers(3, 6, 4)
    y, J = nj.value_and_jacobian(proto, x)
    np.testing.assert_allclose(y, np.tanh(np.cumsum(x[:, 4:], 1)), rtol=1e-5)
    assert J.shape == (3, 2, 4, 6, 4)
    assert not J.to_numpy()[..., :4, :].any()


def test_a_branch_that_depends_on_data_is_refused():
    then = helper.make_graph(
        [helper.make_node("Exp", ["x"], ["a"])], "then", [], [helper.make_value_info("a", onnx.TypeProto())]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["yes"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=then, else_branch=then),
    ]
    with pytest.raises(UnsupportedOperationError, match=r"'choice'.*depends on the network's inputs"):
        nj.jacobian(model(nodes, {"x": ("b", 2)}, ["y"]), numbers(3, 2))


@pytest.mark.parametrize("lengths", [[4, 4], [3, 1]])
def test_reversed_sequences_and_gathers_keep_samples_apart(lengths):
    nodes = [
        helper.make_node("ReverseSequence", ["x", "lengths"], ["turned"], time_axis=1, batch_axis=0),
        helper.make_node("GatherND", ["turned", "steps"], ["taken"], batch_dims=1),
        helper.make_node("Mul", ["taken", "taken"], ["y"]),
    ]
    arrays = {"lengths": np.array(lengths), "steps": np.array([[[0]], [[-2]]])}
    proto = model(nodes, {"x": (2, 4, 3)}, ["y"], arrays)
    held(proto, numbers(2, 4, 3))
    J = nj.jacobian(proto, numbers(2, 4, 3))
    assert J.batch == 2
    assert [tuple(np.flatnonzero(np.abs(block).sum((0, 1, 3)))) for block in J.to_numpy()] == [
        (lengths[0] - 1,),
        (1 if lengths[1] == 4 else 2,),
    ]


KNOWN = [
    ("Div", ([-7, 7, -8], [2, -2, 3]), {}),
    ("Mod", ([-7, 7, -8], [2, -2, 3]), {}),
    ("Mod", ([-7, 7, -8], [2, -2, 3]), {"fmod": 1}),
    ("Pow", ([2, 3], 2), {}),
    ("Pow", ([2, 3], 0.5), {}),
    ("Cast", ([-1.7, 2.6],), {"to": onnx.TensorProto.INT64}),
    ("Gather", ([5, 6, 7], [0, -1]), {}),
    ("Slice", ([1, 2, 3, 4, 5], [-1], [-9999], [0], [-2]), {}),
    ("Slice", ([1, 2, 3, 4, 5], [1], [2**62]), {}),
    ("Round", ([0.5, 1.5, 2.5, -0.5],), {}),
    ("Split", ([1, 2, 3, 4, 5],), {"num_outputs": 2}),
    ("Clip", ([1, 5, 9], 2, 6), {}),
    ("ArgMax", ([1.0, 3, 3],), {}),
    ("OneHot", ([0, -1], 3, [0.0, 1.0]), {}),
    ("ScatterElements", ([1, 2, 3], [-1], [9]), {}),
    ("Trilu", ([[1.0, 2], [3, 4]], 1), {}),
    ("Expand", ([1], [2, 3]), {}),
    ("ReduceProd", ([2, 3, 4],), {"keepdims": 0}),
]


@pytest.mark.parametrize(("kind", "given", "attributes"), KNOWN)
def test_what_is_worked_out_beforehand_is_what_the_rule_gives(kind, given, attributes):
    arrays = [np.asarray(value) for value in given]
    outputs = [f"y{i}" for i in range(attributes.get("num_outputs", 1))]
    (node,) = nodes_of(
        [helper.make_node(kind, [f"x{i}" for i in range(len(arrays))], outputs, **attributes)], {"": 20}, outputs
    )
    rule = RULES["", kind]
    with precise(True):
        taken = [a if rule.is_fixed(i) else jnp.asarray(a) for i, a in enumerate(arrays)]
        found = rule.apply(node, *taken)
    for y, expected in zip(found if isinstance(found, tuple) else (found,), folded(node, arrays), strict=True):
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)
