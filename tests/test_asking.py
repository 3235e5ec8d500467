"""What can be asked for, of which network, by what: names, dicts, trees, parameters, dtypes, and what is left alone."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from tests.jax_networks import Linear, mlp
from tests.oracles import jacrev, per_sample, relative_error

RNG = np.random.default_rng(11)


def draw(*shape):
    return RNG.standard_normal(shape)


def batched(f):
    return nj.network(f, batched=True)


# Samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "culprit"),
    [
        (lambda x: x[::-1] * 2, "rev"),
        (lambda x: jnp.cumsum(x, 0), "cumsum"),
        (lambda x: x @ x.T @ x, "dot_general"),
        (lambda x: jnp.sort(x, 0), "sort"),
        (lambda x: jax.nn.softmax(x, 0), "reduce_max|reduce_sum|sub"),
        (lambda x: jax.lax.scan(lambda c, t: (c + t, c * t), x[0], x)[1], "scan|slice|squeeze"),
        (lambda x: x.reshape(2, -1).T.reshape(4, 3), "reshape|transpose"),
    ],
)
def test_whatever_mixes_the_samples_is_named(f, culprit):
    x = draw(4, 3)
    J = nj.jacobian(batched(f), x)
    assert J.batch is None
    assert any(f": {name} mixes" in str(J.structure) for name in culprit.split("|")), J.structure
    assert relative_error(J, jacrev(f, x)) < 1e-13


def test_the_layer_that_mixes_the_samples_is_named_in_float64_too():
    """A custom derivative on the way is traced again for the reason, in the dtype of the input."""
    f = lambda x: nj.mark(jax.nn.relu(x) - jax.nn.logsumexp(x, 0), "centred") * 2  # noqa: E731
    J = nj.jacobian(batched(f), draw(3, 4))
    assert "in 'centred' mixes the samples" in str(J.structure)
    assert all(factor.to_numpy().dtype == np.float64 for factor in J.factors)


def test_an_output_whose_axis_0_does_not_count_the_samples_is_not_per_sample():
    J = nj.jacobian(batched(lambda x: x.sum()), draw(3, 2))
    assert (J.shape, J.batch) == ((3, 2), None)
    J = nj.jacobian(batched(lambda x: x.T), draw(3, 3))
    assert J.batch is None
    assert "does not count the samples" in str(J.structure)


def test_a_batch_of_one_is_still_a_batch():
    for f in (mlp((4, 6, 3)), lambda x: x - x.mean(0) + x[:, :1]):
        J = nj.jacobian(batched(f), draw(1, 4))
        assert J.batch == 1
        assert (J.shape[0], len(J.shape)) == (1, 3)


# Names -----------------------------------------------------------------------------------------------------------


def two_headed(image, *, scale=2.0):
    h = nj.mark(jnp.tanh(image["a"] @ np.ones((3, 4)) + image["b"] ** 2), "joint")
    return {"class": jax.nn.softmax(h * scale), "value": h.sum(-1)}


def test_several_inputs_and_outputs_come_back_by_name_outputs_outside():
    x = {"a": draw(2, 3), "b": draw(2, 4)}
    J = nj.jacobian(batched(two_headed), x)
    assert set(J) == {"class", "value"}
    assert all(set(inner) == {"a", "b"} for inner in J.values())
    for out in J:
        for inn in J[out]:
            full = jacrev(lambda v, out=out, inn=inn: two_headed({**x, inn: v})[out], x[inn])
            assert relative_error(J[out][inn], per_sample(full, full.ndim - 2)) < 1e-14


def test_one_output_or_input_of_several_is_asked_for_by_its_name():
    x = {"a": draw(2, 3), "b": draw(2, 4)}
    everything = nj.jacobian(batched(two_headed), x)
    one = nj.jacobian(batched(two_headed), x, of="value", wrt="b")
    assert relative_error(one, np.asarray(everything["value"]["b"])) < 1e-14
    listed = nj.jacobian(batched(two_headed), x, of=["value"], wrt=["b", "a"])
    assert list(listed) == ["value"]
    assert list(listed["value"]) == ["b", "a"]
    assert relative_error(listed["value"]["a"], np.asarray(everything["value"]["a"])) < 1e-14


def test_arguments_are_given_as_a_tuple_or_by_name():
    f = lambda left, right: left * jnp.sin(right)  # noqa: E731
    a, b = draw(3), draw(3)
    for x in ((a, b), {"left": a, "right": b}, {"right": b, "left": a}):
        J = nj.jacobian(f, x)
        np.testing.assert_allclose(np.asarray(J["left"]), np.diag(np.sin(b)), atol=1e-15)
        np.testing.assert_allclose(np.asarray(J["right"]), np.diag(a * np.cos(b)), atol=1e-15)


def test_a_tree_of_arrays_is_an_input_with_names_by_path():
    x = {"state": (draw(2), draw(3)), "gain": draw(1)}
    J = nj.jacobian(lambda tree: tree["gain"] * tree["state"][1], x)
    assert set(J) == {"gain", "state.0", "state.1"}
    np.testing.assert_array_equal(np.asarray(J["state.1"]), x["gain"] * np.eye(3))
    assert J["state.0"].structure.kind == "zero"


def test_layers_multiply_to_the_whole_by_the_chain_rule():
    net, x = batched(mlp((4, 6, 5, 3))), draw(2, 4)
    names = ["x", "hidden0.pre", "hidden0", "hidden1.pre", "hidden1", "output"]
    product = np.eye(4)
    for before, after in pairwise(names):
        product = np.asarray(nj.jacobian(net, x, of=after, wrt=before)) @ product
    assert relative_error(product, np.asarray(nj.jacobian(net, x))) < 1e-14
    assert [layer.name for layer in net.layers] == ["hidden0", "hidden1"]


def test_a_layer_by_itself_is_the_identity_and_by_a_later_one_zero():
    net, x = batched(mlp((4, 6, 5, 3))), draw(2, 4)
    J = nj.jacobian(net, x, of="hidden0", wrt="hidden0")
    np.testing.assert_array_equal(np.asarray(J), np.broadcast_to(np.eye(6), (2, 6, 6)))
    later = nj.jacobian(net, x, of="hidden0", wrt="hidden1")
    assert later.structure.kind == "zero"
    np.testing.assert_array_equal(np.asarray(later), np.zeros((2, 6, 5)))


def test_a_layer_that_is_bypassed_is_held_at_its_value():
    """∂output/∂layer is through the layer alone: what goes around it stands still."""
    x, W = draw(3), draw(3, 3)
    f = lambda x: x * nj.mark(jnp.sin(x) @ W, "inner")  # noqa: E731
    np.testing.assert_allclose(np.asarray(nj.jacobian(f, x, wrt="inner")), np.diag(x), atol=1e-15)


# Parameters ------------------------------------------------------------------------------------------------------


def test_parameters_come_back_by_name_one_jacobian_a_sample():
    W, b, x = draw(3, 2), draw(2), draw(4, 3)
    J = nj.jacobian(batched(Linear(W, b)), x, wrt="parameters")
    assert sorted(found.shape for found in J.values()) == [(4, 2, 2), (4, 2, 3, 2)]
    by_bias = np.einsum("bj,jk->bjk", 1 - np.tanh(x @ W + b) ** 2, np.eye(2))
    for found in J.values():
        expected = by_bias if len(found.shape) == 3 else np.einsum("bi,bjk->bjik", x, by_bias)
        assert relative_error(found, expected) < 1e-14
        assert found.batch == 4


def test_a_changed_parameter_gives_the_new_jacobian():
    model, x = Linear(draw(3, 2), draw(2)), draw(4, 3)
    net = batched(model)
    before = np.asarray(nj.jacobian(net, x))
    model.W = 2 * model.W
    after = np.asarray(nj.jacobian(net, x))
    assert relative_error(after, np.einsum("bj,ij->bji", 1 - np.tanh(x @ model.W + model.b) ** 2, model.W)) < 1e-14
    assert relative_error(after, before) > 0.1


# Engines, dtypes and settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "structured", "forward", "reverse", "framework"])
def test_every_engine_gives_the_same_numbers(engine):
    f, x = mlp((4, 6, 3)), draw(3, 4)
    J = nj.jacobian(batched(f), x, engine=engine)
    assert (J.shape, J.batch, J.dtype) == ((3, 3, 4), 3, np.float64)
    assert relative_error(J, per_sample(jacrev(f, x), 2)) < 1e-14


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_dtype_of_the_input_is_the_dtype_of_the_jacobian_and_of_its_products(dtype):
    f, x = mlp((4, 6, 3)), draw(2, 4)
    given = x.astype(jnp.dtype(dtype))
    J = nj.jacobian(batched(f), given)
    before = J @ given
    assert J.dtype == np.asarray(J).dtype == before.dtype == (J @ given).dtype == given.dtype
    tight = {"float64": 1e-14, "float32": 1e-6, "float16": 4e-3, "bfloat16": 4e-2}[dtype]
    assert relative_error(np.asarray(J, np.float64), per_sample(jacrev(f, given.astype(np.float64)), 2)) < tight


def test_everything_of_a_float64_jacobian_is_float64_without_any_setting():
    x = draw(2, 4)
    J = nj.jacobian(batched(mlp((4, 6, 3))), x)
    for made in (J @ x, draw(3) @ J, J.rows(0), J.columns(0), J.gram(), J.to_jax(), np.asarray(J[0]), J[1] @ x[0]):
        assert made.dtype == np.float64
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32


def test_settings_of_the_user_are_read_and_left_as_they_were():
    x = draw(2, 4).astype(np.float32)
    with jax.default_matmul_precision("bfloat16"), jax.enable_x64(True):
        J = nj.jacobian(batched(mlp((4, 6, 3))), x)
        assert np.asarray(J).dtype == J.rows(0).dtype == np.float32
        assert jax.config.jax_default_matmul_precision == "bfloat16"
        assert jax.config.jax_enable_x64
    assert jax.config.jax_default_matmul_precision is None


def test_the_input_is_not_changed():
    x = draw(2, 4)
    kept = x.copy()
    J = nj.jacobian(batched(mlp((4, 6, 3))), x)
    np.asarray(J)
    J @ x
    np.testing.assert_array_equal(x, kept)
    on_device = jnp.asarray(x, jnp.float32)
    np.asarray(nj.jacobian(batched(mlp((4, 6, 3))), on_device, memory=10_000))
    assert not on_device.is_deleted()


def test_lists_and_numbers_are_inputs_too():
    np.testing.assert_array_equal(np.asarray(nj.jacobian(lambda x: x**2, [1.0, 2.0])), np.diag([2.0, 4.0]))
    np.testing.assert_array_equal(np.asarray(nj.jacobian(lambda x: x**2, 3.0)), 6.0)
    np.testing.assert_array_equal(np.asarray(nj.jacobian(batched(lambda x: x**2), [[1.0, 2.0]])), [np.diag([2.0, 4.0])])


# What is refused -------------------------------------------------------------------------------------------------


def test_a_list_of_names_with_an_unknown_one_is_answered_with_the_near_one():
    with pytest.raises(nj.UnknownNameError, match=r"'hidden9'.*Did you mean 'hidden0'"):
        nj.jacobian(batched(mlp((4, 6, 3))), draw(2, 4), wrt=["x", "hidden9"])
    with pytest.raises(nj.UnknownNameError, match="There are: 'hidden0', 'x', 'output'"):
        nj.jacobian(batched(mlp((4, 6, 3))), draw(2, 4), of="nothing like it")


def test_integers_beside_floating_inputs_are_left_out_and_refused_by_name():
    words, table = np.array([0, 2]), draw(3, 2)
    f = lambda words, table: table[words]  # noqa: E731
    J = nj.jacobian(f, (words, table))
    assert set(J) == {"table"}
    assert relative_error(J["table"], jacrev(lambda t: t[words], table)) == 0
    with pytest.raises(nj.NotDifferentiableError, match="wrt='words'"):
        nj.jacobian(f, (words, table), wrt="words")


def test_samples_that_do_not_match_and_words_for_numbers_are_refused():
    with pytest.raises(nj.ShapeError, match="'a' has 2, 'b' has 3"):
        nj.jacobian(batched(lambda a, b: a + b), (draw(2, 1), draw(3, 1)))
    with pytest.raises(nj.NotDifferentiableError, match="holds no numbers"):
        nj.jacobian(jnp.sin, np.array(["a"]))


# Asked wrongly ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"precision": "exact"}, "no precision is called 'exact'"),
        ({"wrt": 5}, "wrt=5 names nothing"),
        ({"wrt": []}, r"wrt=\[\] names nothing"),
        ({"of": []}, r"of=\[\] names nothing"),
        ({"of": None}, "of=None names nothing"),
        ({"of": ["output", 3]}, "give a name, or a list of names"),
        ({"engine": "fast"}, "no engine is called 'fast'"),
        ({"memory": "lots"}, "memory='lots' is no size"),
        ({"memory": -5}, "leaves no room"),
    ],
)
def test_an_option_that_means_nothing_is_said_and_spoils_no_later_question(options, told):
    network, x = batched(jnp.tanh), draw(2, 3)
    before = np.asarray(nj.jacobian(network, x))
    with pytest.raises(nj.NetjacError, match=told):
        nj.jacobian(network, x, **options).to_numpy()
    np.testing.assert_array_equal(np.asarray(nj.jacobian(network, x)), before)


@pytest.mark.parametrize("nothing", [None, (), {}])
def test_no_array_at_all_is_said(nothing):
    with pytest.raises(nj.ShapeError, match="no array at all"):
        nj.jacobian(jnp.tanh, nothing)
