"""Cases in which other tools give a wrong number, or none: right here, or a clear error."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from tests.oracles import jacfwd, jacrev, relative_error

RNG = np.random.default_rng(3)


def draw(*shape):
    return RNG.standard_normal(shape)


def agrees(f, x, tolerance=1e-11):
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(f, x, engine=engine), jacfwd(f, x)) < tolerance, engine


@jax.custom_jvp
def ste(x):
    return jnp.round(x)


ste.defjvp(lambda primals, tangents: (ste(*primals), tangents[0]))


def test_a_straight_through_estimator_has_slope_one_either_way_it_is_written():
    for f in (lambda x: 2 * (x + lax.stop_gradient(jnp.round(x) - x)), lambda x: 2 * ste(x)):
        np.testing.assert_array_equal(np.asarray(nj.jacobian(f, draw(4))), 2 * np.eye(4))


@jax.custom_vjp
def no_forward(x):
    return x**2


no_forward.defvjp(lambda x: (x**2, x), lambda x, u: (2 * u * x,))


def test_a_function_with_only_a_reverse_rule_goes_in_every_order():
    x, W = draw(3), draw(3, 3)
    expected = jacrev(lambda x: no_forward(x @ W) @ W, x)
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(lambda x: no_forward(x @ W) @ W, x, engine=engine), expected) < 1e-14


def test_a_loop_without_reverse_mode_goes_in_every_order():
    W = draw(3, 3)

    def f(x):
        return lax.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, jnp.tanh(c[1] @ W)), (0, x))[1] @ W

    agrees(f, draw(3))


def test_stop_gradient_and_integer_round_trips_give_zero():
    assert not np.asarray(nj.jacobian(lambda x: lax.stop_gradient(x) * 2, draw(3))).any()
    assert not np.asarray(nj.jacobian(lambda x: x.astype(jnp.int32).astype(jnp.float32), draw(3))).any()
    agrees(lambda x: x * x.astype(jnp.int32), draw(3) * 5)


def test_gammainc_by_its_second_argument():
    agrees(lambda x: jax.scipy.special.gammainc(2.0, x), np.abs(draw(4)) + 0.5)


def test_an_embedding_by_its_table_and_a_clear_error_by_its_words():
    table, words = draw(7, 3), np.array([1, 2, 1])
    agrees(lambda table: jnp.tanh(table[words]), table)
    with pytest.raises(nj.NotDifferentiableError, match="integers"):
        nj.jacobian(lambda words: jnp.asarray(table)[words], words)


def test_causal_and_padding_masks():
    W = draw(4, 4)
    for mask in (np.tril(np.ones((5, 5), bool)), np.array([1, 1, 1, 0, 0], bool)[None, :] & np.ones((5, 1), bool)):
        f = lambda x, mask=mask: jax.nn.softmax(jnp.where(mask, x @ W @ x.T, -jnp.inf)) @ x  # noqa: E731
        agrees(f, draw(5, 4))


def test_sorting_selecting_and_ties_in_a_pool():
    agrees(lambda x: lax.top_k(x, 3)[0] * jnp.sort(x)[:3], draw(6))
    f = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID")  # noqa: E731
    assert relative_error(nj.jacobian(f, np.array([1.0, 1, 2, 2])), jacrev(f, np.array([1.0, 1, 2, 2]))) == 0


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_batches_of_none_and_one(batch):
    W = draw(3, 2)
    J = nj.jacobian(nj.network(lambda x: jnp.tanh(x) @ W, batched=True), np.zeros((batch, 3)))
    assert J.shape == (batch, 2, 3)
    np.testing.assert_array_equal(np.asarray(J), np.broadcast_to(W.T, (batch, 2, 3)))


def test_scalars_in_and_out_and_axes_of_size_zero():
    assert np.asarray(nj.jacobian(jnp.sin, np.float64(0.3))) == np.cos(0.3)
    assert nj.jacobian(lambda x: x.sum(), draw(2, 3)).shape == (2, 3)
    assert nj.jacobian(lambda x: x[None] * np.ones(3), np.float64(2.0)).shape == (3,)
    assert np.asarray(nj.jacobian(lambda x: x * 2, np.zeros((0, 3)))).shape == (0, 3, 0, 3)
    agrees(lambda x: jnp.concatenate([x, x[:0]]) * 2, draw(3))


def test_tied_weights_shared_layers_and_unused_inputs():
    agrees(lambda W: jnp.tanh(W @ jnp.tanh(W @ np.ones(3))), draw(3, 3))
    J = nj.jacobian(lambda a, b: a * 2, (draw(3), draw(2)))
    assert not np.asarray(J["b"]).any()
    assert np.asarray(J["b"]).shape == (3, 2)
    assert J["b"].structure.kind == "zero"


def test_an_exponential_gram_by_products_and_rows_at_full_size():
    x = draw(400, 3) / 3
    f = lambda x: jnp.exp(x @ x.T) @ x  # noqa: E731
    J = nj.jacobian(f, x)
    v = draw(400, 3)
    with jax.enable_x64(True):
        expected = jax.jvp(f, (jnp.asarray(x),), (jnp.asarray(v),))[1]
    assert relative_error(J @ v, expected) < 1e-12
    row = np.asarray(nj.jacobian(lambda x: f(x)[7, 1], x))
    assert relative_error(J.rows((7, 1)), row) < 1e-12
    agrees(f, draw(6, 3) / 3)


def test_a_scatter_of_100_into_300():
    places = RNG.permutation(300)[:100]
    f = lambda x: jnp.zeros(300).at[places].set(jnp.sin(x))  # noqa: E731
    agrees(f, draw(100))


def test_a_vision_transformer_with_patches():
    E, Q, K, V, H = draw(48, 6), draw(6, 6), draw(6, 6), draw(6, 6), draw(6, 3)

    def f(x):
        patches = x.reshape(x.shape[0], 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape[0], 4, 48)
        h = patches @ E / 7
        h = h + jax.nn.softmax(h @ Q @ jnp.swapaxes(h @ K, 1, 2), -1) @ h @ V
        h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)
        return jax.nn.gelu(h).mean(1) @ H

    J = nj.jacobian(nj.network(f, batched=True), draw(2, 8, 8, 3))
    assert J.batch == 2
    x = draw(2, 8, 8, 3)
    found, full = np.asarray(nj.jacobian(nj.network(f, batched=True), x)), jacrev(f, x)
    for b in range(2):
        assert relative_error(found[b], full[b, :, b]) < 1e-11


def test_a_residual_net_with_max_pooling():
    K1, K2, W = draw(3, 3, 2, 4), draw(3, 3, 4, 4), draw(4 * 9, 3)

    def conv(x, K):
        return lax.conv_general_dilated(x, K, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def f(x):
        h = jax.nn.relu(conv(x, K1))
        h = jax.nn.relu(h + conv(h, K2))
        h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        return h.reshape(x.shape[0], -1) @ W

    x = draw(2, 6, 6, 2)
    found, full = np.asarray(nj.jacobian(nj.network(f, batched=True), x)), jacrev(f, x)
    for b in range(2):
        assert relative_error(found[b], full[b, :, b]) < 1e-11


def test_a_brusselator_has_its_twelve_thousand_entries():
    n = 16

    def f(u):
        a, b = u
        ring = lambda w: sum(jnp.roll(w, s, d) for s in (1, -1) for d in (0, 1)) - 4 * w  # noqa: E731
        return jnp.stack([1 + a**2 * b - 4.4 * a + 10 * ring(a), 3.4 * a - a**2 * b + 10 * ring(b)])

    u = np.abs(draw(2, n, n)) + 0.5
    J = nj.jacobian(f, u)
    assert relative_error(J, jacrev(f, u)) < 1e-13
    sparse = J.to_scipy()
    assert sparse.shape == (2 * n * n, 2 * n * n)
    assert sparse.nnz == 6 * 2 * n * n


def test_three_convolutions_of_a_row_of_200_have_their_3560_entries():
    kernels = [draw(channels, before, width) for channels, before, width in ((8, 1, 5), (4, 8, 3), (2, 4, 3))]

    def f(x):
        h = x[None, None]
        for kernel in kernels:
            h = jnp.tanh(lax.conv_general_dilated(h, kernel.astype(x.dtype), (1,), "SAME"))
        return h[0]

    x = draw(200)
    J = nj.jacobian(f, x)
    sparse = J.to_scipy()
    assert sparse.nnz == 3560
    assert relative_error(sparse.toarray(), jacrev(f, x).reshape(400, 200)) < 1e-13


def test_complex_numbers_inside():
    f = lambda x: jnp.abs(jnp.fft.fft(x)) ** 2  # noqa: E731
    x = draw(6)
    for engine in ("auto", "reverse"):
        assert relative_error(nj.jacobian(f, x, engine=engine), jacrev(f, x)) < 1e-12
    with pytest.raises(nj.NotDifferentiableError, match="complex"):
        nj.jacobian(f, x.astype(complex))


def test_what_was_pulled_back_to_complex_numbers_is_pushed_on_by_both_parts():
    """The cheapest order meets at the spectrum, of two numbers between three and three."""
    power = lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2  # noqa: E731
    f = lambda x: jnp.take_along_axis(power(x), jnp.array([1, 1, 0]), 0)  # noqa: E731
    x = draw(3)
    assert any(step.form == "push gather" for step in nj.explain(f, x).steps)
    assert relative_error(nj.jacobian(f, x), jacrev(f, x)) < 1e-13


def test_a_linear_solve():
    f = lambda x: jnp.linalg.solve(x[:, :3] + 6 * jnp.eye(3), x[:, 3:])  # noqa: E731
    x = draw(3, 5)
    for engine in ("auto", "reverse"):
        assert relative_error(nj.jacobian(f, x, engine=engine), jacrev(f, x)) < 1e-12
