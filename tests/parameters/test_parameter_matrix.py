"""∂output/∂parameters from factors: every answer against the dense matrix that JAX's reverse mode gives, in float64."""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from jax import lax

import netjac as nj
from netjac.parameters import spectrum
from netjac.parameters.kernel import gram
from tests.oracles import relative_error
from tests.parameters.models import Model, dense, norm

TIGHT = 1e-10


RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.standard_normal(shape) / np.sqrt(shape[0] if shape else 1)


def correlated(n, *shape):
    """Samples whose sites resemble each other, so that terms between two sites are as large as those of one."""
    common = RNG.standard_normal((n, *(1 for _ in shape[:-1]), shape[-1]))
    return common + 0.3 * RNG.standard_normal((n, *shape))


def conv(h, kernel, strides=(1, 1), groups=1):
    return lax.conv_general_dilated(
        h, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def attention(p, x):
    q, k, v = (x @ p[name] for name in ("q", "k", "v"))
    scores = jnp.where(np.tril(np.ones((5, 5), bool)), q @ jnp.swapaxes(k, 1, 2), -1e9)
    return (jax.nn.softmax(scores, -1) @ v).reshape(x.shape[0], -1)[:, :6]


def recurrent(p, x):
    state = jnp.zeros((x.shape[0], 4), x.dtype)
    state = lax.scan(lambda h, z: (jnp.tanh(z @ p["in"] + h @ p["state"]), None), state, jnp.swapaxes(x, 0, 1))[0]
    return state @ p["out"]


CASES = {
    "dense": (lambda p, x: jnp.tanh(x @ p["W"] + p["b"]) @ p["V"], {"W": (6, 5), "b": (5,), "V": (5, 3)}, (6,)),
    "no bias, relu": (lambda p, x: jax.nn.relu(x @ p["W"]) @ p["V"], {"W": (6, 5), "V": (5, 1)}, (6,)),
    "dense over tokens": (
        lambda p, x: jnp.tanh(x @ p["W"] + p["b"]).mean(1) @ p["V"], {"W": (4, 6), "b": (6,), "V": (6, 2)}, (7, 4),
    ),
    "convolution": (
        lambda p, x: jnp.tanh(conv(x, p["K"], (2, 2)) + p["b"]).mean((1, 2)) @ p["V"],
        {"K": (3, 3, 2, 4), "b": (4,), "V": (4, 3)}, (6, 5, 2),
    ),
    "grouped convolution": (
        lambda p, x: conv(jnp.tanh(conv(x, p["K"], groups=2)), p["L"]).sum((1, 2)),
        {"K": (3, 2, 1, 4), "L": (2, 2, 4, 3)}, (4, 4, 2),
    ),
    "norm's scale and shift": (
        lambda p, x: (norm(x @ p["W"]) * p["scale"] + p["shift"]) @ p["V"],
        {"W": (5, 6), "scale": (6,), "shift": (6,), "V": (6, 2)}, (5,),
    ),
    "attention": (attention, {"q": (4, 4), "k": (4, 4), "v": (4, 4)}, (5, 4)),
    "recurrent": (recurrent, {"in": (3, 4), "state": (4, 4), "out": (4, 2)}, (6, 3)),
    "a weight used twice": (lambda p, x: jnp.tanh(jnp.tanh(x @ p["W"]) @ p["W"].T) @ p["V"], {"W": (6, 5), "V": (6, 2)}, (6,)),
    "a layer called twice": (
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["W"] + p["b"]) @ p["W"] + p["b"]), {"W": (4, 4), "b": (4,)}, (4,),
    ),
    "a weight reshaped for its second use": (
        lambda p, x: jnp.tanh(x @ p["W"]) @ p["W"].reshape(4, 6)[:, :2], {"W": (6, 4)}, (6,),
    ),
    "unused": (lambda p, x: jnp.tanh(x @ p["W"]) * 2, {"W": (4, 3), "idle": (2, 2)}, (4,)),
    "a normalised weight": (
        lambda p, x: jnp.tanh(x @ (p["g"] * p["W"] / jnp.linalg.norm(p["W"], axis=0))), {"W": (5, 3), "g": (3,)}, (5,),
    ),
    "a parameter alone": (lambda p, x: x * p["s"] + p["t"] ** 2, {"s": (), "t": (3,)}, (3,)),
    "a mean over the batch": (lambda p, x: (lambda h: h - h.mean(0))(jnp.tanh(x @ p["W"])), {"W": (4, 3)}, (4,)),
}  # fmt: skip
BATCH = 5


def made(name, dtype="float64"):
    function, shapes, inner = CASES[name]
    model = Model(function, {key: drawn(*shape).astype(dtype) for key, shape in shapes.items()})
    x = correlated(BATCH, *inner) if len(inner) > 1 else RNG.standard_normal((BATCH, *inner))
    return model, x.astype(dtype)


@pytest.mark.parametrize("name", CASES)
def test_every_answer_is_that_of_the_dense_matrix(name):
    model, x = made(name)
    J, full = nj.parameter_matrix(nj.network(model, batched=True), x), dense(model, x)
    assert J.shape == full.shape
    v, u = RNG.standard_normal((full.shape[1], 3)), RNG.standard_normal((full.shape[0], 2))
    answers = {
        "to_numpy": (J.to_numpy(), full),
        "J v": (J @ v[:, 0], full @ v[:, 0]),
        "J V": (J @ v, full @ v),
        "Jᵀ u": (J.T @ u[:, 0], full.T @ u[:, 0]),
        "Jᵀ U": (J.T @ u, full.T @ u),
        "gram": (J.gram(), full @ full.T),
        "normal": (J.normal(), full.T @ full),
        "row norms": (J.row_norms(), np.linalg.norm(full, axis=1)),
        "normal diagonal": (J.normal_diagonal(), (full**2).sum(0)),
        "rows": (J.rows(slice(1, 6)), full[1:6]),
        "a row": (J.rows(-1), full[-1]),
        "singular values": (J.svd(3)[1], np.linalg.svd(full)[1][:3]),
    }
    for what, (found, expected) in answers.items():
        assert relative_error(found, expected) < TIGHT, what
    for column, place in J.names.items():
        assert relative_error(J.columns(column), full[:, place]) < TIGHT
    left, s, right = J.svd(2)
    assert relative_error(left * s, full @ right.T) < 1e-7
    for column, factors in J.normal_factors().items():
        own = full[:, J.names[column]]
        assert relative_error(reduce(np.kron, factors), own.T @ own) < TIGHT, column


@pytest.mark.parametrize("name", CASES)
def test_products_are_adjoint_and_chunks_change_nothing(name):
    model, x = made(name)
    network = nj.network(model, batched=True)
    J = nj.parameter_matrix(network, x)
    v, u = RNG.standard_normal(J.shape[1]), RNG.standard_normal(J.shape[0])
    assert abs(u @ (J @ v) - (J.T @ u) @ v) <= 1e-12 * np.linalg.norm(u) * np.linalg.norm(J @ v)
    parted = nj.parameter_matrix(network, x)
    parted._question._fitting = lambda: 2 if parted._question.may_part else BATCH
    for whole, pieces in (
        (J @ v, parted @ v), (J.T @ u, parted.T @ u), (J.gram(), parted.gram()), (J.row_norms(), parted.row_norms()),
        (J.normal_diagonal(), parted.normal_diagonal()), (J.to_numpy(), parted.to_numpy()),
        *((reduce(np.kron, J.normal_factors()[n]), reduce(np.kron, parted.normal_factors()[n])) for n in J.names),
    ):  # fmt: skip
        np.testing.assert_allclose(pieces, whole, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(J @ v, J @ v)


@pytest.mark.parametrize("name", ["dense", "convolution", "attention", "a layer called twice", "recurrent"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_narrow_dtypes_are_as_good_as_they_can_be(name, dtype, tolerance):
    model, x = made(name, dtype)
    J, full = nj.parameter_matrix(nj.network(model, batched=True), x), dense(model, x)
    assert J.dtype == dtype
    assert relative_error(J.to_numpy(), full) < tolerance
    assert relative_error(J.gram(), full @ full.T) < tolerance
    assert relative_error(J.row_norms(), np.linalg.norm(full, axis=1)) < tolerance


def test_known_values():
    """W1 = arange(10) as 2 × 5, W2 = [1, 2], no bias (units times inputs, as torch lays weights out)."""
    f = lambda p, x: x @ p["W1"].T @ p["W2"].T  # noqa: E731
    model = Model(f, {"W1": np.arange(10.0).reshape(2, 5), "W2": np.array([[1.0, 2.0]])})
    J = nj.parameter_matrix(nj.network(model, batched=True), np.stack([np.ones(5), 2 * np.ones(5)]))
    first, second = J.columns("parameters.W1"), J.columns("parameters.W2")
    np.testing.assert_array_equal(first, [[1] * 5 + [2] * 5, [2] * 5 + [4] * 5])
    np.testing.assert_array_equal(second, [[10, 35], [20, 70]])


def test_the_kernel_of_two_sets_of_samples_and_its_trace():
    model, x = made("dense")
    network, other = nj.network(model, batched=True), RNG.standard_normal((3, 6))
    kernel = nj.ntk(network, x, other)
    a, b = dense(model, x).reshape(BATCH, 3, -1), dense(model, other).reshape(3, 3, -1)
    expected = np.einsum("nip,mjp->nmij", a, b)
    assert kernel.shape == (BATCH, 3, 3, 3)
    assert relative_error(kernel, expected) < TIGHT
    assert relative_error(nj.ntk(network, x, other, contract="trace"), np.einsum("nmii->nm", expected)) < TIGHT
    kernel = nj.ntk(network, x)
    assert relative_error(kernel, np.einsum("nip,mjp->nmij", a, a)) < TIGHT
    kernel[:] = 0  # as whoever adds a ridge to it does


def test_nothing_of_the_size_of_the_matrix_is_kept():
    """784-256-256-10 by 60 samples: 600 × 269,322 entries, and some thousand numbers a sample."""
    shapes = {"a": (784, 256), "b": (256,), "c": (256, 256), "d": (256,), "e": (256, 10), "f": (10,)}

    def f(p, x):
        h = jnp.tanh(x @ p["a"] + p["b"])
        return jnp.tanh(h @ p["c"] + p["d"]) @ p["e"] + p["f"]

    model = Model(f, {key: drawn(*shape).astype("float32") for key, shape in shapes.items()})
    J = nj.parameter_matrix(nj.network(model, batched=True), RNG.standard_normal((60, 784)).astype("float32"))
    block = next(J._question.blocks())
    stored = sum(array.size for array in block.arrays)
    assert stored < 60 * 9 * 784
    assert stored * 100 < J.shape[0] * J.shape[1]
    with J._question.asking():
        arguments = (block.uses, block.arrays, block.uses, block.arrays, block.rows, block.rows)
        program = jax.make_jaxpr(gram, static_argnums=(0, 2, 4, 5))(*arguments).jaxpr.eqns[0].params["jaxpr"]
    products = [eqn.outvars[0].aval.size for eqn in program.eqns if eqn.primitive.name == "dot_general"]
    assert products.count(600 * 600) == 2, "the weights and the bias of a hidden layer share one product"


def test_trees_go_in_and_come_out():
    model, x = made("dense")
    J, full = nj.parameter_matrix(nj.network(model, batched=True), x), dense(model, x)
    tree = {"parameters.W": RNG.standard_normal((6, 5))}
    assert relative_error(J @ tree, full[:, J.names["parameters.W"]] @ tree["parameters.W"].reshape(-1)) < TIGHT
    back = J.unflatten(J.T @ np.ones(J.shape[0]))
    assert {name: array.shape for name, array in back.items()} == {
        "parameters.V": (5, 3), "parameters.W": (6, 5), "parameters.b": (5,),
    }  # fmt: skip
    assert relative_error(J.T @ np.ones((BATCH, 3)), full.sum(0)) < TIGHT


def test_what_is_asked_wrongly_is_said():
    model, x = made("dense")
    network = nj.network(model, batched=True)
    J = nj.parameter_matrix(network, x)
    with pytest.raises(nj.ShapeError, match="multiply it with"):
        J @ np.ones(3)
    with pytest.raises(nj.ShapeError, match="multiply it with"):
        J.T @ np.ones(3)
    with pytest.raises(nj.UnknownNameError, match=r"parameters\.W"):
        J.columns("parameters.w")
    with pytest.raises(nj.UnknownNameError, match="parameter"):
        J @ {"nothing": np.ones(3)}
    with pytest.raises(nj.ShapeError, match="has shape"):
        J @ {"parameters.b": np.ones(3)}
    with pytest.raises(nj.ShapeError, match="unflatten takes"):
        J.unflatten(np.ones(3))
    with pytest.raises(nj.ShapeError, match="does not count samples"):
        nj.parameter_matrix(nj.network(Model(lambda p, x: (x @ p["W"]).sum(0)[:2], model.parameters), batched=True), x)
    with pytest.raises(nj.ShapeError, match="triplets"):
        J.svd(100)
    with pytest.raises(nj.ShapeError, match="batched=True"):
        nj.parameter_matrix(nj.network(model), x)
    with pytest.raises(nj.TooLargeError, match="row_norms"):
        nj.parameter_matrix(network, x, memory="500B").gram()
    with pytest.raises(nj.UnknownNameError, match="trace"):
        nj.ntk(network, x, contract="sum")


def counted_factors(J):
    return {name: [len(f) for f in factors] for name, factors in J.normal_factors().items()}


def test_a_block_of_the_normal_matrix_is_a_kronecker_product_where_that_is_exact():
    shapes = {"a": (6, 5), "b": (5,), "c": (5, 3), "d": (3,)}
    model = Model(
        lambda p, x: jnp.tanh(x @ p["a"] + p["b"]) @ p["c"] + p["d"],
        {key: drawn(*shape) for key, shape in shapes.items()},
    )
    x = RNG.standard_normal((BATCH, 6))
    J = nj.parameter_matrix(nj.network(model, batched=True), x)
    hidden, last = {"parameters.a": [30], "parameters.b": [5]}, {"parameters.c": [5, 3], "parameters.d": [3]}
    assert counted_factors(J) == hidden | last
    J._question._fitting = lambda: 2
    J._question._whole = None
    assert counted_factors(J) == hidden | last, "of several runs of samples the sums are a product still"
    single = nj.parameter_matrix(nj.network(model, batched=True), x[:1])
    assert counted_factors(single) == {"parameters.a": [6, 5], "parameters.b": [5]} | last


def test_error_bars_hold_and_tell_a_stopped_iteration_from_a_finished_one(monkeypatch):
    model = Model(
        lambda p, x: jnp.tanh(x @ p["a"] + p["b"]) @ p["c"], {"a": drawn(20, 30), "b": drawn(30), "c": drawn(30, 5)}
    )
    x = RNG.standard_normal((1000, 20))
    J = nj.parameter_matrix(nj.network(model, batched=True), x)
    exact = np.linalg.svd(J.to_numpy(), compute_uv=False)
    for found in (J.svd(4), nj.parameter_matrix(nj.network(model, batched=True), x[:100]).svd(4)):
        assert found.errors.shape == (4,)
        assert (found.errors < 1e-9 * found[1]).all()
    assert J.shape[0] > spectrum.SMALL
    assert (np.abs(J.svd(4)[1] - exact[:4]) <= J.svd(4).errors + 1e-13 * exact[0]).all()
    iterated = scipy.sparse.linalg.svds
    monkeypatch.setattr(scipy.sparse.linalg, "svds", lambda A, **how: iterated(A, **how | {"tol": 0.3, "ncv": 6}))
    rough = J.svd(4)
    assert (rough.errors > 1e-6 * exact[0]).any()
    assert (np.abs(rough[1][:, None] - exact).min(1) <= rough.errors + 1e-13 * exact[0]).all()


def test_runs_of_samples_are_told_of():
    model, x = made("dense")
    told = []
    tell = lambda done, total: told.append((done, total))  # noqa: E731
    J = nj.parameter_matrix(nj.network(model, batched=True), x, progress=tell)
    J._question._fitting = lambda: 2
    assert relative_error(J.row_norms(), np.linalg.norm(dense(model, x), axis=1)) < TIGHT
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    J.gram()
    assert told == [(1, 3), (2, 3), (3, 3)]
