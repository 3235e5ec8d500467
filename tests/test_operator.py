"""Every member of `Jacobian` against the dense matrix in NumPy, before the matrix is known and after."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import torch

import netjac as nj
from tests.jax_networks import Linear, mlp
from tests.oracles import relative_error

RNG = np.random.default_rng(5)
B, OUT, INN = 3, (2, 4), (3, 2)
M, N = 8, 6
HEAD = RNG.standard_normal((5, 8)) / 2
BODY = RNG.standard_normal((6, 5)) / 2
TIGHT = 1e-11


def draw(*shape):
    return RNG.standard_normal(shape)


def f(x):
    """(B, 3, 2) → (B, 2, 4), or without the batch."""
    lead = x.shape[: x.ndim - 2]
    return (jnp.tanh(x.reshape(*lead, 6) @ BODY) @ HEAD).reshape(*lead, 2, 4)


X = draw(B, *INN)


def one(known, batch=True, x=X):
    """A fresh Jacobian, with its dense matrix in hand or not, and that matrix from elsewhere."""
    J = nj.jacobian(nj.network(lambda x: f(x), batched=True) if batch else (lambda x: f(x)), x if batch else x[0])
    slope = 1 - np.tanh(x.reshape(-1, 6) @ BODY) ** 2
    matrices = np.einsum("ko,bk,ik->boi", HEAD, slope, BODY)
    if known:
        np.asarray(J)
    return J, matrices if batch else matrices[0]


known = pytest.mark.parametrize("known", [False, True], ids=["by sweeps", "by matrix"])


def close(found, expected):
    assert isinstance(found, np.ndarray)
    assert relative_error(found, expected) < TIGHT


# Products --------------------------------------------------------------------------------------------------------


@known
@pytest.mark.parametrize("k", [None, 1, 5])
@pytest.mark.parametrize("lead", [(), (B,)])
def test_tangents_are_pushed_in_the_shape_of_the_input(known, k, lead):
    J, A = one(known)
    v = draw(*lead, *INN, *(() if k is None else (k,)))
    full = np.broadcast_to(v, (B, *v.shape[len(lead) :])).reshape(B, N, -1)
    close(J @ v, (A @ full).reshape(B, *OUT, *(() if k is None else (k,))))


@known
@pytest.mark.parametrize("k", [None, 1, 5])
@pytest.mark.parametrize("lead", [(), (B,)])
def test_cotangents_are_pulled_in_the_shape_of_the_output(known, k, lead):
    J, A = one(known)
    u = draw(*lead, *(() if k is None else (k,)), *OUT)
    full = np.broadcast_to(u, (B, *u.shape[len(lead) :])).reshape(B, -1, M)
    close(u @ J, (full @ A).reshape(B, *(() if k is None else (k,)), *INN))


@known
def test_flat_vectors_give_flat_products(known):
    J, A = one(known)
    v, u = draw(B, N), draw(B, M)
    close(J @ v, np.einsum("bmn,bn->bm", A, v))
    close(J @ v[0], A @ v[0])
    close(u @ J, np.einsum("bmn,bm->bn", A, u))
    close(u[0] @ J, u[0] @ A)


@known
def test_without_a_batch_vectors_have_none(known):
    J, A = one(known, batch=False)
    v, u = draw(*INN), draw(*OUT)
    close(J @ v, (A @ v.reshape(N)).reshape(OUT))
    close(u @ J, (u.reshape(M) @ A).reshape(INN))
    close(J @ v.reshape(N), A @ v.reshape(N))
    block = draw(*INN, 4)
    close(J @ block, (A @ block.reshape(N, 4)).reshape(*OUT, 4))
    rows = draw(4, *OUT)
    close(rows @ J, (rows.reshape(4, M) @ A).reshape(4, *INN))


@known
def test_a_vector_that_fits_nowhere_is_refused_with_what_fits(known):
    J, _ = one(known)
    with pytest.raises(nj.ShapeError, match=r"shape \(7,\) does not fit the in side; give \(3, 3, 2\) or \(3, 2\)"):
        J @ draw(7)
    with pytest.raises(nj.ShapeError, match=r"does not fit the out side"):
        draw(3, 9) @ J


@known
def test_the_transpose_swaps_the_sides(known):
    J, A = one(known)
    u, v = draw(B, *OUT), draw(B, *INN)
    assert J.T.shape == (B, *INN, *OUT)
    assert J.T.T is J
    close(J.T @ u, np.einsum("bmn,bm->bn", A, u.reshape(B, M)).reshape(B, *INN))
    close(v @ J.T, np.einsum("bmn,bn->bm", A, v.reshape(B, N)).reshape(B, *OUT))
    close(J @ J.T, A @ A.swapaxes(1, 2))
    close(J.T @ J, A.swapaxes(1, 2) @ A)
    assert repr(J.T).startswith("transpose of")


def test_products_compute_no_dense_matrix():
    x = draw(1, 2**17)
    J = nj.jacobian(nj.network(lambda x: jnp.sin(x), batched=True), x, memory="64MiB")
    close(J @ x, np.cos(x) * x)
    close(x @ J, np.cos(x) * x)
    with pytest.raises(nj.TooLargeError, match="J @ v"):
        np.asarray(J)


# Entries ---------------------------------------------------------------------------------------------------------


def test_the_dense_forms_agree():
    J, A = one(False)
    close(np.asarray(J), A.reshape(B, *OUT, *INN))
    close(J.to_numpy(), A.reshape(B, *OUT, *INN))
    close(J.matrix(), A)
    close(np.asarray(J.to_jax()), A.reshape(B, *OUT, *INN))
    close(np.asarray(J, dtype=np.float32).astype(float), A.astype(np.float32).reshape(B, *OUT, *INN))


@known
@pytest.mark.parametrize("index", [0, 5, -1, (1, 2), [0, 7, 3], slice(2, 5), np.array([1])])
def test_rows_by_flat_index_by_place_or_several(known, index):
    J, A = one(known)
    flat = np.ravel_multi_index(index, OUT) if isinstance(index, tuple) else index
    close(J.rows(index), A[:, flat].reshape(B, *np.arange(M)[flat].shape, *INN))


@known
@pytest.mark.parametrize("index", [0, 5, -1, (2, 1), [0, 5, 3], slice(2, 5), np.array([1])])
def test_columns_by_flat_index_by_place_or_several(known, index):
    J, A = one(known)
    flat = np.ravel_multi_index(index, INN) if isinstance(index, tuple) else index
    close(J.columns(index), A[:, :, flat].reshape(B, *OUT, *np.arange(N)[flat].shape))


@known
def test_rows_and_columns_that_are_not_there_are_refused(known):
    J, _ = one(known)
    with pytest.raises(nj.ShapeError, match="there are 8 rows, numbered 0 to 7"):
        J.rows(8)
    with pytest.raises(nj.ShapeError, match="there are 6 columns"):
        J.columns([0, -7])


@known
def test_a_sample_or_several_are_taken_by_index(known):
    J, A = one(known)
    one_sample = J[1]
    assert (one_sample.shape, one_sample.batch) == ((*OUT, *INN), None)
    close(one_sample.matrix(), A[1])
    v, u = draw(*INN), draw(*OUT)
    close(J[1] @ v, (A[1] @ v.reshape(N)).reshape(OUT))
    close(u @ J[1], (u.reshape(M) @ A[1]).reshape(INN))
    close(J[-1].rows(2), A[-1][2].reshape(INN))
    for chosen in (slice(1, None), [2, 0], np.array([True, False, True])):
        some = J[chosen]
        assert some.batch == 2
        close(some.matrix(), A[chosen])
        w = draw(2, *INN)
        close(some @ w, np.einsum("bmn,bn->bm", A[chosen], w.reshape(2, N)).reshape(2, *OUT))
        close(some[1].matrix(), A[chosen][1])
    with pytest.raises(nj.ShapeError, match="no axis of samples"):
        J[0][0]
    with pytest.raises(IndexError):
        J[3]


def test_one_sample_is_sparse_in_scipy():
    x = draw(2, 5)
    J = nj.jacobian(nj.network(lambda x: jnp.sin(x), batched=True), x)
    sparse = J[1].to_scipy()
    assert isinstance(sparse, scipy.sparse.csr_array)
    assert (sparse.shape, sparse.nnz) == ((5, 5), 5)
    close(sparse.toarray(), np.diag(np.cos(x[1])))
    with pytest.raises(nj.ShapeError, match=r"has 2; take one: J\[b\].to_scipy"):
        J.to_scipy()


@known
def test_a_scipy_operator_multiplies_both_ways(known):
    J, A = one(known)
    operator = J[2].to_linear_operator()
    v, u = draw(N), draw(M)
    close(operator @ v, A[2] @ v)
    close(operator.T @ u, A[2].T @ u)
    assert operator.shape == (M, N)
    with pytest.raises(nj.ShapeError, match="of one sample"):
        J.to_linear_operator()


# Questions about the matrix --------------------------------------------------------------------------------------


def test_gram_normal_diagonal_and_norms():
    J, A = one(False)
    close(J.gram(), A @ A.swapaxes(1, 2))
    close(J.normal(), A.swapaxes(1, 2) @ A)
    close(J.diagonal(), np.diagonal(A, axis1=1, axis2=2))
    for order in ("fro", 2, 1, np.inf):
        close(J.norm(order), np.array([np.linalg.norm(a, order) for a in A]))
    close(J.norm(), J.norm("fro"))
    close(J.norm("inf"), J.norm(np.inf))
    with pytest.raises(nj.ShapeError, match="not one of 'fro', 2, 1, inf"):
        J.norm("nuc")


def test_singular_values_rank_condition_and_determinant():
    J, A = one(False)
    s = np.linalg.svd(A, compute_uv=False)
    assert np.allclose(J.singular_values(), s, atol=1e-13 * s.max())
    assert np.allclose(J.singular_values(2), s[:, :2], atol=1e-13 * s.max())
    u, values, vt = J.svd(4)
    assert (u.shape, values.shape, vt.shape) == ((B, M, 4), (B, 4), (B, 4, N))
    best = np.stack(
        [(a[:, :4] * t[:4]) @ b[:4] for a, t, b in zip(*np.linalg.svd(A, full_matrices=False), strict=True)]
    )
    close(u * values[:, None] @ vt, best)
    assert J.rank().tolist() == [5] * B
    assert J.rank(tolerance=1e9).tolist() == [0] * B
    assert (J.cond() > 1e12).all()
    square = nj.jacobian(nj.network(mlp((4, 6, 4)), batched=True), draw(2, 4))
    close(square.logdet(), np.linalg.slogdet(square.matrix())[1])
    close(square.cond(), np.linalg.cond(square.matrix()))
    with pytest.raises(nj.ShapeError, match=r"this one is 8 × 6.*slogdet"):
        J.logdet()


def test_the_largest_singular_values_of_a_large_jacobian_need_no_dense_matrix():
    W = draw(1100, 1100) / 33
    J = nj.jacobian(lambda x: jnp.tanh(x) @ W, np.zeros(1100), memory="4MiB")
    expected = np.linalg.svd(W, compute_uv=False)[:3]
    assert relative_error(J.singular_values(3), expected) < 1e-9
    u, s, vt = J.svd(2)
    assert relative_error(u * s @ vt @ vt.T, u * s) < 1e-9
    assert relative_error(W.T @ vt.T, u * s) < 1e-9


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_answers_every_question(dtype):
    x = X.astype(jnp.dtype(dtype))
    J = nj.jacobian(nj.network(lambda x: f(x).astype(dtype), batched=True), x)
    A = one(False)[1]
    for found, expected in (
        (J.gram(), A @ A.swapaxes(1, 2)),
        (J.normal(), A.swapaxes(1, 2) @ A),
        (J.norm(2), np.linalg.norm(A, 2, (1, 2))),
    ):
        assert relative_error(np.asarray(found, np.float64), expected) < 5e-2
    assert J.gram().dtype == x.dtype
    np.asarray(J)
    assert (J @ x).dtype == x.dtype
    assert relative_error(np.asarray(J @ x, np.float64), np.asarray(one(True)[0] @ X)) < 5e-2


# Parameters: one vector for all samples -------------------------------------------------------------------------------


@known
def test_a_tangent_of_parameters_is_one_for_all_samples(known):
    model, x = Linear(draw(3, 2), draw(2)), draw(4, 3)
    found = nj.jacobian(nj.network(model, batched=True), x, wrt="parameters")
    J = next(J for J in found.values() if J.in_shape == (3, 2))
    slope = 1 - np.tanh(x @ model.W + model.b) ** 2
    A = np.einsum("bj,bi,jk->bjik", slope, x, np.eye(2))
    if known:
        close(np.asarray(J), A)
    v, u = draw(3, 2), draw(4, 2)
    close(J @ v, np.einsum("bjik,ik->bj", A, v))
    close(J @ v.reshape(6), np.einsum("bjik,ik->bj", A, v))
    close(u @ J, np.einsum("bj,bjik->bik", u, A))
    close(J[1] @ v, np.einsum("jik,ik->j", A[1], v))
    close(J[1].matrix(), A[1].reshape(2, 6))
    close(J.rows(1), A[:, 1])
    close(J.columns((2, 1)), A[:, :, 2, 1])
    close(J[1].rows(0), A[1, 0])
    close(J[1].columns(3), A[1].reshape(2, 6)[:, 3])
    operator = J[3].to_linear_operator()
    close(operator @ v.reshape(6), np.einsum("jik,ik->j", A[3], v))
    close(operator.T @ u[3], np.einsum("jik,j->ik", A[3], u[3]).reshape(6))


# Words -----------------------------------------------------------------------------------------------------------


def test_what_it_says_of_itself():
    J, _ = one(False)
    text, page = repr(J), J._repr_html_()
    for word in ("3", "(2, 4)", "(3, 2)", "float64", "independent"):
        assert word in text
    assert "<" in page
    assert J.plan.operations > 0
    assert [factor.form for factor in J.factors].count("dot_general") == 2


def test_the_factors_multiply_to_the_jacobian():
    x = draw(4)
    W, V = draw(4, 5), draw(5, 3)
    J = nj.jacobian(lambda x: jnp.sin(x @ W) @ V, x)
    product = np.eye(3)
    for factor in J.factors:
        product = product @ factor.to_numpy()
    close(product, J.matrix())
    assert [f.form for f in J.factors] == ["dot_general", "sin", "dot_general"]


@pytest.mark.parametrize("given", ["torch", "jax", "numpy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_answer_has_the_inputs_dtype_whatever_its_framework(given, dtype):
    W = np.random.default_rng(0).standard_normal((3, 3))
    network = nj.network(lambda x: jnp.tanh(x @ W.astype(x.dtype)), batched=True)
    plain = np.random.default_rng(1).standard_normal((2, 3)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        x = {"torch": torch.from_numpy(plain), "jax": jnp.asarray(plain), "numpy": plain}[given]
    J = nj.jacobian(network, x)
    expected = np.asarray(J)
    answers = {
        "matrix": J.matrix(), "rows": J.rows([0, 2]), "columns": J.columns(1), "gram": J.gram(), "normal": J.normal(),
        "diagonal": J.diagonal(), "norm": J.norm(), "svd": J.svd()[1], "values": J.singular_values(), "cond": J.cond(),
        "logdet": J.logdet(), "J v": J @ x, "u J": x @ J if given == "numpy" else J.T @ x,
        "value": nj.value_and_jacobian(network, x)[0],
    }  # fmt: skip
    for what, answer in answers.items():
        assert str(answer.dtype).removeprefix("torch.") == dtype, what
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    assert relative_error(np.asarray(answers["gram"]), expected @ np.swapaxes(expected, 1, 2)) < tolerance
