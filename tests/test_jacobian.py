"""The public function and the result object, member by member."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.compiled import counts
from tests.oracles import relative_error

RNG = np.random.default_rng(0)
W1, W2 = RNG.standard_normal((4, 5)), RNG.standard_normal((5, 3))
X = RNG.standard_normal((6, 4))
NET = nj.network(lambda x: nj.mark(jnp.tanh(x @ W1), "hidden") @ W2, batched=True)
SLOPE = 1 - np.tanh(X @ W1) ** 2
DENSE = np.einsum("ho,bh,ih->boi", W2, SLOPE, W1)


def test_layout_and_description():
    J = nj.jacobian(NET, X)
    assert (J.shape, J.out_shape, J.in_shape, J.batch, J.dtype) == ((6, 3, 4), (3,), (4,), 6, np.float64)
    assert J.structure.per_sample
    assert relative_error(J, DENSE) < 1e-14
    assert np.asarray(J.matrix()).shape == (6, 3, 4)
    assert "(6, 3, 4)" in repr(J)
    assert "<" in J._repr_html_()


def test_an_unbatched_function_has_no_axis_of_samples():
    J = nj.jacobian(lambda x: jnp.tanh(x @ W1) @ W2, X[0])
    assert J.batch is None
    assert J.shape == (3, 4)
    assert relative_error(J, DENSE[0]) < 1e-14


def test_a_mean_over_the_batch_is_not_per_sample():
    J = nj.jacobian(nj.network(lambda x: (x - x.mean(0)) @ W1, batched=True), X)
    assert J.batch is None
    assert J.shape == (6, 5, 6, 4)
    assert "reduce_sum" in J.structure.reason
    expected = np.einsum("ab,io->aobi", np.eye(6) - 1 / 6, W1)
    assert relative_error(J, expected) < 1e-14


def test_products_with_every_accepted_shape():
    J, D = nj.jacobian(NET, X), DENSE
    v, u = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 3))
    assert relative_error(J @ v, np.einsum("boi,bi->bo", D, v)) < 1e-13
    assert relative_error(J @ v[0], np.einsum("boi,i->bo", D, v[0])) < 1e-13
    many = RNG.standard_normal((6, 4, 2))
    assert relative_error(J @ many, np.einsum("boi,bik->bok", D, many)) < 1e-13
    assert relative_error(u @ J, np.einsum("boi,bo->bi", D, u)) < 1e-13
    rows = RNG.standard_normal((6, 2, 3))
    assert relative_error(rows @ J, np.einsum("boi,bko->bki", D, rows)) < 1e-13
    assert relative_error(J.T @ u, np.einsum("boi,bo->bi", D, u)) < 1e-13
    assert relative_error(J.T @ J, np.einsum("boi,boj->bij", D, D)) < 1e-13
    assert relative_error(J @ J.T, np.einsum("boi,bpi->bop", D, D)) < 1e-13
    with pytest.raises(nj.ShapeError, match=r"\(7,\).*in side"):
        J @ np.ones(7)


def test_one_sample_and_a_slice_of_samples():
    J = nj.jacobian(NET, X)
    assert J[2].shape == (3, 4)
    assert J[1:4].shape == (3, 3, 4)
    v = RNG.standard_normal((3, 4))
    assert relative_error(J[2] @ v[0], DENSE[2] @ v[0]) < 1e-13
    assert relative_error(J[1:4] @ v, np.einsum("boi,bi->bo", DENSE[1:4], v)) < 1e-13
    assert relative_error(J[2], DENSE[2]) < 1e-14
    with pytest.raises(nj.ShapeError, match="no axis of samples"):
        J[2][0]


def test_rows_and_columns():
    J = nj.jacobian(NET, X)
    assert relative_error(J.rows(1), DENSE[:, 1]) < 1e-13
    assert relative_error(J.rows([2, 0]), DENSE[:, [2, 0]]) < 1e-13
    assert relative_error(J.columns(3), DENSE[:, :, 3]) < 1e-13
    assert relative_error(J.columns(slice(1, 3)), DENSE[:, :, 1:3]) < 1e-13
    with pytest.raises(nj.ShapeError, match="there are 3 rows"):
        J.rows(3)


def test_questions_about_the_matrix():
    J, D = nj.jacobian(NET, X), DENSE
    assert relative_error(J.gram(), D @ D.transpose(0, 2, 1)) < 1e-13
    assert relative_error(J.normal(), D.transpose(0, 2, 1) @ D) < 1e-13
    assert relative_error(J.diagonal(), np.diagonal(D, axis1=1, axis2=2)) < 1e-13
    for order in ("fro", 2, 1, np.inf):
        assert relative_error(J.norm(order), np.linalg.norm(D, order, (1, 2))) < 1e-13
    s = np.linalg.svd(D, compute_uv=False)
    assert relative_error(J.singular_values(), s) < 1e-13
    assert relative_error(J.singular_values(2), s[:, :2]) < 1e-13
    assert J.svd(2)[0].shape == (6, 3, 2)
    assert relative_error(np.einsum("bmk,bk,bkn->bmn", *J.svd()), D) < 1e-13
    assert relative_error(J.cond(), s[:, 0] / s[:, -1]) < 1e-12
    assert (np.asarray(J.rank()) == 3).all()
    assert (np.asarray(J.rank(1e9)) == 0).all()
    with pytest.raises(nj.ShapeError, match="square"):
        J.logdet()
    square = nj.jacobian(NET, X, wrt="hidden.pre", of="hidden")
    assert relative_error(square.logdet(), np.log(SLOPE).sum(1)) < 1e-12
    with pytest.raises(nj.ShapeError, match="fro"):
        J.norm("nuclear")


def test_the_largest_singular_values_of_a_large_jacobian_come_from_products_alone():
    A = RNG.standard_normal((1100, 1100)) / 30
    J = nj.jacobian(lambda x: jnp.tanh(x @ A), RNG.standard_normal(1100) / 9)
    found = J.singular_values(3)
    assert J._dense is None
    assert relative_error(found, np.linalg.svd(np.asarray(J), compute_uv=False)[:3]) < 1e-9


def test_a_scipy_operator_and_a_sparse_matrix_of_one_sample():
    J = nj.jacobian(NET, X)
    operator = J[1].to_linear_operator()
    v, u = RNG.standard_normal(4), RNG.standard_normal(3)
    assert relative_error(operator @ v, DENSE[1] @ v) < 1e-13
    assert relative_error(operator.T @ u, DENSE[1].T @ u) < 1e-13
    assert relative_error(J[1].to_scipy().toarray(), DENSE[1]) < 1e-13
    with pytest.raises(nj.ShapeError, match=r"J\[b\]"):
        J.to_scipy()


def test_factors_multiply_to_the_jacobian():
    J = nj.jacobian(NET, X[:2])
    product = np.eye(6)
    for factor in J.factors:
        local = factor.to_numpy()
        product = product @ local.reshape(product.shape[1], -1)
    expected = np.zeros((2, 3, 2, 4))
    expected[0, :, 0], expected[1, :, 1] = DENSE[0], DENSE[1]
    assert relative_error(product.reshape(2, 3, 2, 4), expected) < 1e-13


def test_layers_by_name_pre_activation_and_repeated_names():
    assert relative_error(nj.jacobian(NET, X, of="hidden"), np.einsum("bh,ih->bhi", SLOPE, W1)) < 1e-14
    assert relative_error(nj.jacobian(NET, X, wrt="hidden"), np.broadcast_to(W2.T, (6, 3, 5))) < 1e-14
    pre = nj.jacobian(NET, X, wrt="hidden.pre", of="hidden")
    assert pre.structure.kind == "diagonal"
    twice = nj.network(lambda x: nj.mark(2 * nj.mark(3 * x, "h"), "h"))
    np.testing.assert_array_equal(np.asarray(nj.jacobian(twice, np.ones(2), wrt="h", of="h#2")), 2 * np.eye(2))


def test_lists_of_names_give_dicts():
    J = nj.jacobian(NET, X, wrt=["x", "hidden"], of=["output", "hidden"])
    assert {of: set(inner) for of, inner in J.items()} == {"output": {"x", "hidden"}, "hidden": {"x", "hidden"}}
    assert not np.asarray(nj.jacobian(NET, X, of="x", wrt="hidden")).any()


def test_values_come_with_the_jacobian_from_one_pass():
    y, J = nj.value_and_jacobian(NET, X)
    np.testing.assert_allclose(y, np.tanh(X @ W1) @ W2, rtol=1e-13)
    assert relative_error(J, DENSE) < 1e-14
    assert isinstance(y, np.ndarray)


def test_explain_shows_the_plan_without_running_it():
    before = counts["traces"]
    plan = nj.explain(NET, X, engine="forward", precision="high")
    assert counts["traces"] == before
    assert plan.order == "forward"
    assert "plain reverse" in str(plan)


def test_float64_comes_back_whatever_the_flag_says_and_the_flag_stays():
    assert not jax.config.jax_enable_x64
    J = nj.jacobian(NET, X)
    assert J.dtype == np.float64
    assert np.asarray(J @ X).dtype == np.float64
    assert not jax.config.jax_enable_x64
    assert jax.config.jax_default_matmul_precision is None
    assert nj.jacobian(lambda x: jnp.sin(x), X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_half_and_single_precision(dtype):
    A = jnp.asarray(W1, dtype)
    J = nj.jacobian(lambda x: jnp.tanh(x @ A), jnp.asarray(X[0], dtype))
    assert J.dtype == dtype
    assert relative_error(J, SLOPE[0][:, None] * W1.T) < {2: 2e-2, 4: 1e-6}[jnp.dtype(dtype).itemsize]
    assert np.isfinite(J.norm()).all()


def test_answers_come_in_the_framework_of_the_input():
    assert isinstance(nj.jacobian(NET, jnp.asarray(X)).matrix(), jax.Array)
    assert isinstance(nj.jacobian(NET, X).matrix(), np.ndarray)
    assert isinstance(nj.jacobian(NET, X) @ jnp.ones(4), jax.Array)


def test_pieces_within_a_budget_give_the_same_numbers():
    done = []
    J = nj.jacobian(NET, X, memory=1500, progress=lambda now, total: done.append((now, total)))
    assert relative_error(J, DENSE) < 1e-14
    assert done[-1][0] == done[-1][1] > 1
    wide = nj.network(lambda x: jnp.tanh(x @ RNG_WIDE[0]) @ RNG_WIDE[1], batched=True)
    x = RNG.standard_normal((2, 30))
    whole = np.asarray(nj.jacobian(wide, x))
    rows = []
    parts = nj.jacobian(wide, x, memory=whole.nbytes + 40_000, progress=lambda now, total: rows.append(total))
    assert relative_error(parts, whole) < 1e-13
    assert rows[-1] > 2


RNG_WIDE = (RNG.standard_normal((30, 40)), RNG.standard_normal((40, 50)))


def test_what_cannot_fit_says_its_size_and_what_to_ask_for():
    with pytest.raises(nj.TooLargeError, match=r"takes 576 B.*J @ v"):
        np.asarray(nj.jacobian(NET, X, memory=100))
    assert np.asarray(nj.jacobian(NET, X, memory=100) @ X).shape == (6, 3)
    for bad in ("much", -1):
        with pytest.raises(nj.ShapeError, match="memory="):
            np.asarray(nj.jacobian(NET, X, memory=bad))


def test_repeated_calls_never_trace_plan_or_compile_again():
    np.asarray(nj.jacobian(NET, X))
    before = dict(counts)
    for _ in range(3):
        np.asarray(nj.jacobian(NET, X + 1))
    assert counts == before


def test_a_fresh_function_of_the_same_structure_is_not_compiled_again_but_its_values_are_its_own():
    def made(scale):
        A = scale * W1
        return lambda x: jnp.tanh(x @ A)

    first = np.asarray(nj.jacobian(made(0.0), X[0]))
    before = dict(counts)
    second = np.asarray(nj.jacobian(made(1.0), X[0]))
    assert counts == before
    assert not first.any()
    assert relative_error(second, SLOPE[0][:, None] * W1.T) < 1e-14


def test_a_network_is_let_go_with_its_traces():
    network = nj.network(lambda x: jnp.sin(x))
    np.asarray(nj.jacobian(network, X))
    there = weakref.ref(network)
    del network
    gc.collect()
    assert there() is None


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(nj.UnknownNameError, match=r"'hiden'.*Did you mean 'hidden'"):
        nj.jacobian(NET, X, of="hiden")
    with pytest.raises(nj.UnknownNameError, match="forward"):
        nj.jacobian(NET, X, engine="foward")
    with pytest.raises(nj.UnknownNameError, match="no trainable parameters"):
        nj.jacobian(NET, X, wrt="parameters")


def test_bad_inputs_are_named():
    with pytest.raises(nj.NonFiniteError, match=r"'x'.*nan at index \(0, 1\)"):
        nj.jacobian(NET, np.array([[0.0, np.nan, 0, 0]]))
    with pytest.raises(nj.NotDifferentiableError, match="integers"):
        nj.jacobian(NET, np.ones((2, 4), int))
    with pytest.raises(nj.NotDifferentiableError, match=r"argmax.*logits"):
        nj.jacobian(lambda x: jnp.argmax(x), X[0])
    with pytest.raises(nj.NotDifferentiableError, match="complex"):
        nj.jacobian(NET, X.astype(complex))
    with pytest.raises(nj.ShapeError, match="single number"):
        nj.jacobian(NET, np.float64(1.0))
    with pytest.raises(nj.ModelLoadError, match="int is no model"):
        nj.jacobian(3, X)
    with pytest.raises(nj.ModelLoadError, match="no file"):
        nj.jacobian("nowhere.onnx", X)


def test_the_framework_engine_finds_independence_or_its_lack():
    same = nj.jacobian(NET, X, engine="framework")
    assert same.batch == 6
    assert relative_error(same, DENSE) < 1e-12
    mixed = nj.jacobian(nj.network(lambda x: x - x.mean(0), batched=True), X, engine="framework")
    assert mixed.shape == (6, 4, 6, 4)
    assert mixed.plan is None
