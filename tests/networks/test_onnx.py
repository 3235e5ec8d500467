"""ONNX models: what they are called, take and give, where their weights are, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import onnx
import pytest
from onnx import helper

import netjac as nj
from netjac.cli import main
from netjac.errors import (
    ModelLoadError,
    NotDifferentiableError,
    ShapeError,
    UnknownNameError,
    UnsupportedOperationError,
)
from netjac.networks.onnx import OnnxNetwork
from netjac.networks.onnx_runtime import Runtime
from tests.networks.onnx_models import by_runtime, model, one, perceptron
from tests.oracles import relative_error


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def proto(rng):
    return perceptron(rng)


@pytest.fixture
def x(rng):
    return rng.standard_normal((4, 5)).astype("float32")


def by_hand(proto, x):
    """The perceptron's Jacobian from its own arrays, in float64."""
    arrays = {a.name: onnx.numpy_helper.to_array(a).astype("float64") for a in proto.graph.initializer}
    h = np.tanh(x @ arrays["first.weight"].T + arrays["first.bias"])
    scores = h @ arrays["last.weight"].T + arrays["last.bias"]
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    slope = p[:, :, None] * (np.eye(3) - p[:, None])
    return slope @ arrays["last.weight"] @ ((1 - h**2)[:, :, None] * arrays["first.weight"])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_a_jacobian_is_exact_in_the_inputs_dtype(proto, x, dtype, tolerance):
    J = nj.jacobian(proto, x.astype(dtype))
    assert J.dtype == dtype
    assert J.batch == 4
    assert relative_error(J, by_hand(proto, x.astype("float64"))) < tolerance


def test_names_kinds_and_shapes(proto, x):
    net = nj.network(proto, x)
    assert [(layer.name, layer.kind, layer.shape) for layer in net.layers] == [
        ("first", "Gemm", (None, 8)), ("h", "Tanh", (None, 8)), ("last", "Gemm", (None, 3)), ("softmax", "Softmax", (None, 3)),
    ]  # fmt: skip
    assert [spec.name for spec in net.outputs] == ["probabilities"]
    assert [(spec.name, spec.shape) for spec in nj.network(proto).declared_inputs] == [("x", (None, 5))]
    assert nj.jacobian(net, x, of="h", wrt="first").structure.kind == "diagonal"
    assert nj.jacobian(net, x, of="softmax.pre").shape == (4, 3, 5)
    by_layer = nj.jacobian(net, x, of=["last", "probabilities"], wrt="x")
    assert relative_error(by_layer["probabilities"], by_hand(proto, x)) < 1e-6
    with pytest.raises(UnknownNameError, match="first"):
        nj.jacobian(net, x, of="firts")


def test_parameters_by_their_names(proto, x):
    net = nj.network(proto)
    found = nj.jacobian(net, x, wrt="parameters")
    assert {name: J.shape for name, J in found.items()} == {
        "first.weight": (4, 3, 8, 5), "first.bias": (4, 3, 8), "last.weight": (4, 3, 3, 8), "last.bias": (4, 3, 3),
    }  # fmt: skip
    own = nj.jacobian(net, x[:1], wrt="parameters", engine="framework")
    for name, J in found.items():
        assert relative_error(J.to_numpy()[:1], own[name]) < 1e-5


def test_checks_hold_values_beside_onnx_runtime(proto, x):
    check = nj.check(proto, x)
    assert check.passed
    assert "onnx" in check.framework
    assert nj.jacobian(proto, x, engine="framework").to_numpy() == pytest.approx(by_hand(proto, x), rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(nj.network(proto)(x), by_runtime(proto, x)[0], rtol=1e-6)


def test_values_that_differ_are_refused(proto, x, monkeypatch):
    right = Runtime.__call__
    monkeypatch.setattr(Runtime, "__call__", lambda self, *a: [y * 1.1 for y in right(self, *a)])
    with pytest.raises(UnsupportedOperationError, match=r"'probabilities'.*from what ONNX Runtime gives"):
        nj.check(proto, x)


def test_without_onnx_runtime_the_reference_speaks(proto, x, monkeypatch):
    expected = nj.network(proto)(x)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    np.testing.assert_allclose(nj.network(proto)(x), expected, rtol=1e-5)


def test_running_statistics_bounds_and_single_numbers_are_not_trained(rng):
    nodes = [
        helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "variance"], ["n"], name="norm"),
        helper.make_node("Clip", ["n", "low", "high"], ["c"], name="clip"),
        helper.make_node("Mul", ["c", "half"], ["y"], name="half"),
    ]
    arrays = {name: rng.uniform(0.5, 1, 3).astype("float32") for name in ("scale", "shift", "mean", "variance")}
    arrays |= {"low": np.zeros(1, "float32").reshape(()), "high": np.float32(6), "half": np.float32(0.5)}
    net = nj.network(model(nodes, {"x": ("b", 3)}, ["y"], arrays))
    assert set(net.parameters) == {"scale", "shift", "mean", "variance"}
    assert net.trainable == {"scale", "shift"}


def test_weights_that_are_assigned_are_those_of_the_model(proto, x):
    net = nj.network(proto)
    before = nj.jacobian(net, x).to_numpy()
    written = net.assigned({"last.weight": np.zeros((3, 8))})
    assert written is proto
    assert before.any()
    assert not nj.jacobian(net, x).to_numpy().any()
    assert not nj.jacobian(proto, x).to_numpy().any()
    np.testing.assert_allclose(net(x), by_runtime(proto, x)[0], rtol=1e-6)


def test_a_fit_writes_the_model(proto, x, rng):
    target = rng.uniform(0.2, 0.4, (4, 3))
    fit = nj.fit(proto, x.astype("float64"), target, max_iterations=20)
    assert fit.loss < fit.initial_loss / 10
    written = fit.apply_to(proto)
    assert np.square(by_runtime(written, x)[0] - target).mean() == pytest.approx(fit.loss, rel=1e-2, abs=1e-6)


def test_functions_of_the_models_own_are_read(rng, x):
    function = helper.make_function(
        "own", "Twice", ["a", "w"], ["b"],
        [helper.make_node("MatMul", ["a", "w"], ["m"]), helper.make_node("Sin", ["m"], ["b"])], [helper.make_opsetid("", 20)],
    )  # fmt: skip
    arrays = {"w": rng.standard_normal((5, 5)).astype("float32")}
    nodes = [
        helper.make_node("Twice", ["x", "w"], ["h"], domain="own"),
        helper.make_node("Twice", ["h", "w"], ["y"], domain="own"),
    ]
    proto = model(nodes, {"x": ("b", 5)}, ["y"], arrays, domains=[("own", 1)], functions=[function])
    y, J = nj.value_and_jacobian(proto, x)
    np.testing.assert_allclose(y, by_runtime(proto, x)[0], rtol=1e-4, atol=1e-5)
    w = arrays["w"].astype("float64")
    inner, outer = x @ w, np.sin(x @ w) @ w
    expected = np.einsum("bk,jk,bj,ij->bki", np.cos(outer), w, np.cos(inner), w)
    assert relative_error(J, expected) < 1e-5
    assert nj.check(proto, x).passed
    assert set(nj.network(proto).parameters) == {"w"}


def test_files_with_their_weights_beside_them(proto, x, tmp_path):
    path, expected = tmp_path / "net.onnx", by_runtime(proto, x)[0]
    exact = by_hand(proto, x)
    onnx.save(proto, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    assert (tmp_path / "net.weights").stat().st_size > 0
    net = nj.network(path)
    assert net.name == "net"
    assert relative_error(nj.jacobian(net, x), exact) < 1e-6
    np.testing.assert_allclose(net(x), expected, rtol=1e-6)


def test_files_that_are_no_models(proto, tmp_path):
    with pytest.raises(ModelLoadError, match="there is no file"):
        nj.network(tmp_path / "lost.onnx")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x80\x04 this is no model" * 9)
    with pytest.raises(ModelLoadError, match=r"garbage.onnx.*cannot be read"):
        nj.network(garbage)
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"empty.onnx.*no nodes"):
        nj.network(empty)
    half = tmp_path / "half.onnx"
    half.write_bytes(proto.SerializeToString()[:-40])
    with pytest.raises(ModelLoadError, match=r"half.onnx"):
        nj.network(half)
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="net.weights", size_threshold=0)
    (tmp_path / "net.weights").unlink()
    with pytest.raises(ModelLoadError, match=r"net.onnx.*cannot be read"):
        nj.network(tmp_path / "net.onnx")


def test_weights_are_read_from_the_models_own_folder_alone(proto, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(bytes(1000))
    path = tmp_path / "inner" / "net.onnx"
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelLoadError, match=r"net.onnx"):
        nj.network(path)


def test_graphs_that_are_damaged(rng):
    lost = model([helper.make_node("Relu", ["nowhere"], ["y"], name="act")], {"x": ("b", 2)}, ["y"])
    with pytest.raises(ModelLoadError, match=r"'act'.*'nowhere'"):
        nj.network(lost)
    nothing = model([helper.make_node("Relu", ["x"], ["h"])], {"x": ("b", 2)}, ["y"])
    with pytest.raises(ModelLoadError, match="output 'y'"):
        nj.network(nothing)


def test_shapes_that_do_not_fit(proto, rng, x):
    with pytest.raises(ShapeError, match=r"'x' \(any, 5\).*\(4, 6\)"):
        nj.jacobian(proto, np.ones((4, 6), "float32"))
    with pytest.raises(ShapeError, match="x\\[None\\]"):
        nj.jacobian(proto, x[0])
    fixed = perceptron(rng, batch=1)
    with pytest.raises(ShapeError, match=r"fixed in the file.*dynamic_shapes"):
        nj.jacobian(fixed, x)
    assert nj.jacobian(fixed, x[:1]).shape == (1, 3, 5)
    with pytest.raises(ShapeError, match="keys \\['z'\\]"):
        nj.jacobian(proto, {"z": x})
    with pytest.raises(ShapeError, match="2 arrays"):
        nj.jacobian(proto, (x, x))


@pytest.mark.filterwarnings("error:Explicitly requested dtype int64")
def test_whole_numbers_and_tokens(rng):
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"], name="embedding"),
        helper.make_node("ReduceMean", ["e", "axis"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "x"], ["y"]),
    ]
    arrays = {"table": rng.standard_normal((7, 3)).astype("float32"), "axis": np.array([1])}
    proto = model(nodes, {"tokens": (("b", 4), "int64"), "x": ("b", 3)}, ["y"], arrays)
    tokens = rng.integers(0, 7, (2, 4))
    found = nj.jacobian(proto, {"x": [[1, 2, 3], [4, 5, 6]], "tokens": tokens}, wrt="x")
    np.testing.assert_allclose(np.einsum("bii->bi", found.to_numpy()), arrays["table"][tokens].mean(1), rtol=1e-6)
    with pytest.raises(ShapeError, match="'tokens' as int64, not float32"):
        nj.jacobian(proto, (np.ones((2, 4), "float32"), np.ones((2, 3), "float32")))
    with pytest.raises(NotDifferentiableError, match="tokens"):
        nj.jacobian(proto, (tokens, np.ones((2, 3), "float32")), wrt="tokens")
    by_table = nj.jacobian(proto, (tokens, np.ones((2, 3), "float32")), wrt="table")
    assert by_table.shape == (2, 3, 7, 3)


def test_labels_and_words_beside_the_scores(rng):
    """As scikit-learn's classifiers are exported: classes first, scores in maps."""
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[1.0, 2.0], scale=[0.5, 2.0]),
        helper.make_node("LinearClassifier", ["s"], ["label", "scores"], domain="ai.onnx.ml",
                         coefficients=rng.standard_normal(6).tolist(), intercepts=[0.1, 0.2, 0.3],
                         classlabels_strings=["a", "b", "c"], post_transform="SOFTMAX"),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"]),
    ]  # fmt: skip
    proto = model(nodes, {"x": ("b", 2)}, ["maps"], domains=[("ai.onnx.ml", 3)])
    proto.graph.output[0].type.Clear()
    proto.graph.output.insert(0, helper.make_tensor_value_info("label", onnx.TensorProto.STRING, None))
    x = rng.standard_normal((3, 2)).astype("float32")
    net = nj.network(proto)
    y, J = nj.value_and_jacobian(net, x)
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(J.to_numpy().sum(1), 0, atol=1e-6)
    del proto.graph.output[0], proto.graph.output[0], proto.graph.node[2]
    proto.graph.output.append(helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, None))
    np.testing.assert_allclose(y, by_runtime(proto, x)[0], rtol=1e-5)
    assert nj.check(proto, x.astype("float64")).passed


def test_nothing_of_onnx_is_imported_before_it_is_needed():
    code = "import sys, netjac, netjac.cli; assert not [m for m in sys.modules if m.startswith('onnx')]"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(nj.MissingExtraError, match=r"netjac\[onnx\]"):
        nj.network(tmp_path / "net.onnx")


def test_commands_take_onnx_files(proto, x, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    onnx.save(proto, "net.onnx")
    np.save("x.npy", x)
    np.save("y.npy", np.random.default_rng(0).uniform(0.2, 0.4, (4, 3)))
    assert main(["jacobian", "net.onnx", "x.npy", "-o", "j.npz"]) == 0
    assert relative_error(np.load("j.npz")["jacobian"], by_hand(proto, x)) < 1e-6
    assert main(["explain", "net.onnx", "x.npy"]) == 0
    assert "'net'" in capsys.readouterr().out
    assert main(["check", "net.onnx", "x.npy"]) == 0
    assert "the Jacobian is right" in capsys.readouterr().out
    assert main(["sensitivity", "net.onnx", "x.npy", "-o", "s.csv", "--quiet"]) == 0
    assert main(["draw", "net.onnx", "x.npy", "-o", "net.svg"]) == 0
    assert main(["formula", "net.onnx", "x.npy"]) == 0
    told = ["--targets", "y.npy", "--iterations", "5", "--quiet"]
    assert main(["fit", "net.onnx", "x.npy", *told, "-o", "fitted.onnx"]) == 0
    y = by_runtime(onnx.load("fitted.onnx"), x)[0]
    assert np.square(y - np.load("y.npy")).mean() < np.square(by_runtime(proto, x)[0] - np.load("y.npy")).mean()
    capsys.readouterr()
    assert main(["jacobian", "lost.onnx", "x.npy"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["fit", "net.onnx", "x.npy", *told, "-o", "fitted.keras"]) == 2
    assert "give an .npz" in capsys.readouterr().err


def test_a_network_is_traced_once_for_a_shape(proto, x):
    net = nj.network(proto)
    for _ in range(3):
        nj.jacobian(net, x)
    assert len(net.traces) == 1
    nj.jacobian(net, x[:2])
    assert len(net.traces) == 2


def test_the_program_is_plain(proto, x):
    """A product with the transposed weights and a sum, as of torch's Linear: nothing for the rules to see through."""
    network = OnnxNetwork(proto)
    jaxpr = jax.make_jaxpr(network.prepare([]))(dict(network.parameters), (x,))
    names = [eqn.primitive.name for eqn in jaxpr.eqns if eqn.primitive.name != "name"]
    assert names[:4] == ["transpose", "dot_general", "broadcast_in_dim", "add"] or names[:3] == [
        "transpose",
        "dot_general",
        "add",
    ]


def test_constants_are_those_of_the_computation(rng):
    """A float32 constant does not pull a float64 computation down, nor a float64 one a float32 computation up."""
    for own in ("float32", "float64"):
        proto = one("Add", [[2, 3]], {"c": rng.standard_normal((2, 3)).astype("float32")})
        node = helper.make_node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(np.arange(3.0).astype(own)))
        proto.graph.node.insert(0, node)
        proto.graph.node.append(helper.make_node("Mul", ["y", "k"], ["z"]))
        proto.graph.output[0].name = "z"
        for dtype in ("float32", "float64"):
            assert nj.jacobian(proto, np.ones((2, 3), dtype)).dtype == dtype
