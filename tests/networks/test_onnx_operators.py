"""Operators of ONNX beside ONNX Runtime on random numbers, and their derivatives beside differences in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import netjac as nj
from netjac.errors import StochasticNetworkError, UnsupportedOperationError
from netjac.networks.onnx import OnnxNetwork
from tests.networks.onnx_models import held, model, numbers, one
from tests.oracles import differences, relative_error


def settings_of(draw, rank):
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    pads = [draw(st.integers(0, kernel[i % rank] - 1)) for i in range(2 * rank)]
    places = [draw(st.integers(5, 8)) for _ in range(rank)]
    return kernel, strides, dilations, pads, places


@st.composite
def pools(draw):
    rank = draw(st.integers(1, 3))
    kernel, strides, dilations, pads, places = settings_of(draw, rank)
    kind = draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
    attributes = {"kernel_shape": kernel, "strides": strides}
    auto = draw(
        st.sampled_from(
            ["NOTSET", "VALID"]
            + ["SAME_UPPER", "SAME_LOWER"] * all(s <= k for s, k in zip(strides, kernel, strict=True))
        )
    )
    if auto == "NOTSET":
        attributes |= {"pads": pads, "dilations": dilations, "ceil_mode": draw(st.integers(0, 1))}
    else:
        attributes["auto_pad"] = auto
    if kind == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    if kind == "LpPool":
        attributes["p"] = draw(st.integers(1, 3))
        attributes.pop("ceil_mode", 0)
    return kind, [[2, 3, *places]], attributes


@given(pools())
@settings(max_examples=20)
def test_pooling(case):
    kind, shapes, attributes = case
    held(one(kind, shapes, opset=19, **attributes), numbers(*shapes[0]))


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    kernel, strides, dilations, pads, places = settings_of(draw, rank)
    groups, each, out = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    attributes = {"strides": strides, "dilations": dilations, "group": groups}
    if draw(st.booleans()):
        attributes["pads"] = pads
    elif draw(st.booleans()):
        attributes |= {
            "auto_pad": draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"])),
            "dilations": [1] * rank,
        }
    return groups * each, groups * out, [2, groups * each, *places], kernel, attributes


@given(convolutions(), st.booleans())
@settings(max_examples=20)
def test_convolutions(case, biased):
    channels, outputs, shape, kernel, attributes = case
    arrays = {"w": numbers(outputs, channels // attributes["group"], *kernel)}
    arrays |= {"b": numbers(outputs)} if biased else {}
    held(one("Conv", [shape], arrays, **attributes), numbers(*shape))


@given(convolutions(), st.sampled_from(["pads", "output_padding", "output_shape"]))
@settings(max_examples=15)
def test_transposed_convolutions(case, how):
    channels, outputs, shape, kernel, attributes = case
    if attributes.get("auto_pad", "VALID") != "VALID":
        attributes.pop("auto_pad")
    attributes.pop("auto_pad", None)
    if how == "output_padding":
        attributes["output_padding"] = [s - 1 for s in attributes["strides"]]
    if how == "output_shape":
        attributes.pop("pads", None)
        attributes["output_shape"] = [n * s for n, s in zip(shape[2:], attributes["strides"], strict=True)]
    arrays = {"w": numbers(channels, outputs // attributes["group"], *kernel), "b": numbers(outputs)}
    held(one("ConvTranspose", [shape], arrays, **attributes), numbers(*shape))


@pytest.mark.parametrize(
    "transposed", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "antialias", "exclude"])
def test_resizing(transposed, mode):
    more = {"antialias": {"mode": "linear", "antialias": 1}, "exclude": {"mode": "cubic", "exclude_outside": 1}}
    attributes = {"coordinate_transformation_mode": transposed, **more.get(mode, {"mode": mode})}
    nothing = np.zeros(0, "float32")
    for scales, sizes in (([0.7, 2.3], None), (None, [9, 4])):
        arrays = {"roi": nothing, "scales": nothing if scales is None else np.array([1, 1, *scales], "float32")}
        arrays |= {} if sizes is None else {"sizes": np.array([2, 3, *sizes])}
        held(one("Resize", [[2, 3, 7, 6]], arrays, opset=18, **attributes), numbers(2, 3, 7, 6))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_sampling_on_a_grid(padding, corners):
    given = {"padding_mode": padding, "align_corners": corners}
    for opset, mode, places in ((16, "bilinear", 2), (16, "bicubic", 2), (20, "nearest", 2), (20, "linear", 3)):
        shapes = [[2, 3, *(5, 4, 3)[:places]], [2, *(3, 2, 2)[:places], places]]
        held(one("GridSample", shapes, opset=opset, mode=mode, **given), *(numbers(*shape) for shape in shapes))


def recurrent(kind, directions, attributes, with_states, with_bias=True):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    arrays = {
        "w": numbers(directions, gates * 4, 3),
        "r": numbers(directions, gates * 4, 4),
        "b": numbers(directions, 2 * gates * 4) if with_bias else None,
        "lengths": np.full(2, 5, "int32"),
        "h": numbers(directions, 2, 4) if with_states else None,
    }
    if kind == "LSTM":
        arrays |= {"c": numbers(directions, 2, 4) if with_states else None, "p": numbers(directions, 12)}
    outputs = ("y", "h'", "c'")[: 3 if kind == "LSTM" else 2]
    return one(kind, [[5, 2, 3]], arrays, outputs=outputs, hidden_size=4, **attributes)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"direction": "forward"},
        {"direction": "reverse", "clip": 0.7},
        {"direction": "bidirectional"},
        {
            "direction": "forward",
            "activations": ["Sigmoid", "HardSigmoid", "Elu"],
            "activation_alpha": [0.3, 0.6],
            "activation_beta": [0.4],
        },
        {
            "direction": "forward",
            "activations": ["Sigmoid", "ScaledTanh", "Softsign"],
            "activation_alpha": [0.6],
            "activation_beta": [0.4],
        },
    ],
)
def test_recurrent_layers(kind, attributes):
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    if "activations" in attributes:
        taken = attributes["activations"][: {"LSTM": 3, "GRU": 2, "RNN": 1}[kind]]
        attributes = {**attributes, "activations": taken if kind != "RNN" else ["Tanh"]}
    for states, before in ((True, 1), (False, 0)):
        more = {"linear_before_reset": before} if kind == "GRU" else {}
        held(recurrent(kind, directions, {**attributes, **more}, states, states), numbers(5, 2, 3))


VARIANTS = [
    ("Softmax", 11, {"axis": 1}, {}),
    ("LogSoftmax", 11, {"axis": 2}, {}),
    ("Softmax", 13, {"axis": 1}, {}),
    ("Clip", 6, {"min": -0.3, "max": 0.6}, {}),
    ("Clip", 13, {}, {"low": np.float32(-0.3), "high": np.float32(0.6)}),
    ("Clip", 13, {}, {"low": None, "high": np.float32(0.6)}),
    ("Squeeze", 11, {"axes": [1]}, {}),
    ("Squeeze", 13, {}, {"axes": np.array([-2])}),
    ("Unsqueeze", 11, {"axes": [0, 4]}, {}),
    ("Unsqueeze", 13, {}, {"axes": np.array([0, -1])}),
    ("ReduceSum", 11, {"axes": [2], "keepdims": 0}, {}),
    ("ReduceSum", 13, {"keepdims": 0}, {"axes": np.array([2])}),
    ("ReduceMean", 13, {"axes": [-1]}, {}),
    ("ReduceMean", 18, {}, {"axes": np.array([-1])}),
    ("ReduceMax", 18, {}, {}),
    ("Pad", 10, {"pads": [0, 0, 1, 0, 0, 2], "value": 0.5}, {}),
    ("Pad", 13, {"mode": "edge"}, {"pads": np.array([0, 0, 1, 0, 0, 2])}),
    ("Pad", 18, {"mode": "reflect"}, {"pads": np.array([1, 2]), "value": None, "axes": np.array([2])}),
    ("Pad", 19, {"mode": "wrap"}, {"pads": np.array([0, 0, 1, 0, 0, 2])}),
    ("Slice", 9, {"starts": [1], "ends": [-1], "axes": [2]}, {}),
    ("Slice", 13, {}, {"a": np.array([-1, 0]), "b": np.array([-99, 99]), "axes": np.array([2, 0]), "steps": np.array([-2, 1])}),
    ("Split", 18, {"axis": 2, "num_outputs": 1}, {}),
    ("TopK", 9, {"k": 2}, {}),
    ("Dropout", 10, {"ratio": 0.4}, {}),
    ("Dropout", 13, {}, {"ratio": np.float32(0.4), "training": np.array(False)}),
    ("Upsample", 9, {"mode": "linear"}, {"scales": np.array([1, 1, 2], "float32")}),
    ("CumSum", 14, {"exclusive": 1, "reverse": 1}, {"axis": np.array(2)}),
    ("Gather", 13, {"axis": 2}, {"indices": np.array([[0, -1], [2, 1]])}),
    ("Einsum", 13, {"equation": "abc,ac->ab"}, {"other": numbers(2, 5)}),
    ("Pow", 15, {}, {"exponent": np.float32(3)}),
    ("Trilu", 14, {"upper": 0}, {"k": np.array(1)}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "opset", "attributes", "arrays"), VARIANTS)
def test_opsets(kind, opset, attributes, arrays):
    shape = [2, 1, 5] if kind in ("Squeeze", "Upsample") else [2, 3, 5]
    outputs = ("y", "places") if kind == "TopK" else ("y",)
    proto = one(kind, [shape], arrays, opset=opset, outputs=outputs, **attributes)
    del proto.graph.output[1:]
    held(proto, numbers(*shape))


SMOOTH = [
    ("Gelu", [[2, 4]], {}, {"approximate": "tanh"}),
    ("HardSigmoid", [[2, 4]], {}, {}),
    ("Celu", [[2, 4]], {}, {"alpha": 0.7}),
    ("ThresholdedRelu", [[2, 4]], {}, {"alpha": 0.2}),
    ("PRelu", [[2, 3, 4]], {"slope": numbers(3, 1)}, {}),
    ("Shrink", [[2, 6]], {}, {"lambd": 0.3, "bias": 0.1}),
    ("Gemm", [[2, 4]], {"b": numbers(4, 3), "c": numbers(3)}, {"alpha": 0.5, "beta": 2.0}),
    ("LayerNormalization", [[2, 3, 4]], {"scale": numbers(4), "shift": numbers(4)}, {}),
    ("InstanceNormalization", [[2, 3, 4]], {"scale": numbers(3), "shift": numbers(3)}, {}),
    ("LRN", [[2, 5, 3, 2]], {}, {"size": 3, "alpha": 0.5, "bias": 1.5}),
    ("LpNormalization", [[2, 5]], {}, {"p": 2}),
    ("GlobalMaxPool", [[2, 3, 4, 4]], {}, {}),
    ("GlobalLpPool", [[2, 3, 4, 4]], {}, {"p": 3}),
    ("LpPool", [[2, 1, 6]], {}, {"kernel_shape": [3], "p": 3}),
    ("ReduceLogSumExp", [[2, 5]], {"axes": np.array([1])}, {}),
    ("ReduceL2", [[2, 5]], {"axes": np.array([1])}, {}),
    ("ReduceProd", [[2, 5]], {"axes": np.array([1])}, {}),
    ("DepthToSpace", [[2, 8, 2, 2]], {}, {"blocksize": 2, "mode": "CRD"}),
    ("GridSample", [[2, 2, 4, 4], [2, 3, 2, 2]], {}, {"mode": "cubic"}),
    ("GridSample", [[2, 1, 4, 3], [2, 2, 2, 2]], {}, {"padding_mode": "reflection"}),
    ("Where", [[2, 3], [2, 3]], {}, {}),
    ("Max", [[2, 3], [2, 3]], {}, {}),
    ("Div", [[2, 3], [2, 3]], {}, {}),
    ("ScatterND", [[2, 3]], {"at": np.array([[1]]), "to": numbers(1, 3)}, {"reduction": "mul"}),
    ("GatherElements", [[2, 3]], {"at": np.array([[2, -1], [0, 0]])}, {"axis": 1}),
    ("Mod", [[2, 3], [2, 3]], {}, {"fmod": 1}),
    ("Resize", [[2, 1, 4, 4]], {"roi": None, "scales": np.array([1, 1, 1.5, 2], "float32")}, {"mode": "cubic"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "shapes", "arrays", "attributes"), SMOOTH, ids=[case[0] for case in SMOOTH])
def test_derivatives(kind, shapes, arrays, attributes):
    if kind == "Where":
        arrays = {"condition": np.array([True, False, True])}
        node = helper.make_node("Where", ["condition", "x0", "x1"], ["y"], name="node")
        proto = model([node], {"x0": shapes[0], "x1": shapes[1]}, ["y"], arrays)
    else:
        proto = one(kind, shapes, arrays, **attributes)
    given = [numbers(*shape, seed=place) for place, shape in enumerate(shapes)]
    held(proto, *given)
    network = nj.network(proto)
    wide = [array.astype("float64") for array in given]
    found = nj.jacobian(network, tuple(wide))
    found = list(found.values()) if isinstance(found, dict) else [found]
    for place, J in enumerate(found):

        def moved(x, place=place):
            arrays = tuple(x if i == place else jnp.asarray(a) for i, a in enumerate(wide))
            return network.prepare([])(network.parameters, arrays)[0]

        own = J.to_numpy() if J.batch is None else _spread(J)
        assert relative_error(own, differences(jax.jit(moved), wide[place])) < 1e-7


def _spread(J):
    """(B, *out, *in) as (B, *out, B, *in), zero between samples."""
    whole = np.zeros((J.batch, *J.out_shape, J.batch, *J.in_shape))
    for b, block in enumerate(J.to_numpy()):
        whole[(b, *(slice(None),) * len(J.out_shape), b)] = block
    return whole


REFUSED = [
    (one("NonMaxSuppression", [[1, 4, 4], [1, 1, 4]]), "NonMaxSuppression"),
    (one("QuantizeLinear", [[2, 4]], {"scale": np.float32(0.1), "zero": np.uint8(0)}), "before quantisation"),
    (one("Frobnicate", [[2, 4]], domain="com.example", domains=[("com.example", 1)]), "Frobnicate of com.example"),
    (one("MaxPool", [[2, 1, 6]], outputs=("y", "places"), kernel_shape=[2]), "indices"),
    (one("LSTM", [[3, 2, 3]], {"w": numbers(1, 16, 3), "r": numbers(1, 16, 4)}, hidden_size=4, input_forget=1), "input_forget"),
    (one("RNN", [[3, 2, 3]], {"w": numbers(1, 4, 3), "r": numbers(1, 4, 4), "b": None, "n": np.int32([3, 1])}), "_lens"),
    (one("BatchNormalization", [[2, 3]], {n: numbers(3) for n in "abcd"}, opset=7, spatial=0), "spatial"),
]  # fmt: skip


@pytest.mark.parametrize(("proto", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_has_no_rule_is_refused_by_name(proto, told):
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input]
    network = OnnxNetwork(proto)
    with pytest.raises(UnsupportedOperationError, match=told) as raised:
        network.prepare([])(network.parameters, tuple(jnp.asarray(numbers(*shape)) for shape in shapes))
    assert "node" in str(raised.value)
    assert "opset" in str(raised.value)


@pytest.mark.parametrize(
    "proto",
    [
        one("Dropout", [[2, 4]], {"ratio": np.float32(0.5), "training": np.array(True)}),
        one("RandomNormalLike", [[2, 4]]),
    ],
)
def test_what_draws_is_refused(proto):
    with pytest.raises(StochasticNetworkError, match="node"):
        nj.jacobian(proto, numbers(2, 4))


def test_at_their_kinks_operators_have_torchs_derivatives():
    """relu and relu6 0 at 0; of equal maxima in a window the first; a norm 0 at the origin."""
    x = np.array([[0.0, 6.0, 3.0, -1.0, 3.0]])
    low, high = np.float32(0), np.float32(6)
    assert np.diagonal(nj.jacobian(one("Relu", [["b", 5]]), x).to_numpy()[0]).tolist() == [0, 1, 1, 0, 1]
    clip = one("Clip", [["b", 5]], {"low": low, "high": high})
    assert np.diagonal(nj.jacobian(clip, x).to_numpy()[0]).tolist() == [0, 0, 1, 0, 1]
    pool = one("MaxPool", [["b", 1, 5]], kernel_shape=[3], strides=[2])
    assert nj.jacobian(pool, x[:, None]).to_numpy()[0, 0].tolist() == [[[0, 1, 0, 0, 0]], [[0, 0, 1, 0, 0]]]
    norm = one("LpNormalization", [["b", 5]])
    assert not nj.jacobian(norm, np.zeros((1, 5))).to_numpy().any()
