"""Convolutions of every channel by itself: the same values and pulls as XLA's, and none of XLA's convolutions left."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

import netjac as nj
from netjac.compiled import swept
from netjac.graph.key import key
from netjac.graph.program import trace
from netjac.rules import depthwise
from tests.oracles import differences, jacrev, relative_error

LAYOUTS = [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("NHWC", "OIHW", "NCHW"), ("HNWC", "OHIW", "WCHN")]
sizes = st.integers(1, 5)


@st.composite
def cases(draw):
    layout, rng = draw(st.sampled_from(LAYOUTS)), np.random.default_rng(draw(st.integers(0, 99)))
    channels = draw(st.integers(2, 4))
    extents = {"N": draw(st.integers(1, 3)), "H": draw(sizes), "W": draw(sizes), "C": channels}
    kernel = {"H": draw(sizes), "W": draw(sizes), "I": 1, "O": channels * draw(st.integers(1, 3))}
    pads = st.tuples(st.integers(-1, 3), st.integers(-1, 4))
    two = st.tuples(st.integers(1, 3), st.integers(1, 2))
    parameters = {
        "window_strides": draw(two),
        "padding": (draw(pads), draw(pads)),
        "lhs_dilation": draw(st.sampled_from([(1, 1), (1, 1), (2, 3)])),
        "rhs_dilation": draw(two),
        "dimension_numbers": layout,
        "feature_group_count": channels,
    }
    K = rng.standard_normal([kernel[c] for c in layout[1]])
    x = rng.standard_normal([extents[c] for c in layout[0]])
    return (lambda x, K: lax.conv_general_dilated(x, K, **parameters)), x, K


@given(cases())
def test_views_times_numbers_are_the_convolution_and_its_pull(case):
    f, x, K = case
    with jax.enable_x64(True):
        try:
            expected = f(jnp.asarray(x), jnp.asarray(K))
        except (ValueError, TypeError):  # a padding that takes more away than there is
            assume(False)
        assume(expected.size)
        program, _ = trace(f, jnp.asarray(x), jnp.asarray(K))
        eqn = program.equations[0]
        assert depthwise.is_depthwise(program, eqn)
        assert relative_error(depthwise.convolved(program, eqn, x, K), expected) < 1e-13
        pull = depthwise.pull(program, eqn)
        assert (pull is None) == any(n != 1 for n in eqn.parameters["lhs_dilation"])
        if pull is not None:
            block = jnp.asarray(np.random.default_rng(0).standard_normal((3, *expected.shape)))
            theirs = jax.vmap(jax.vjp(lambda x: f(x, K), jnp.asarray(x))[1])(block)[0]
            assert relative_error(pull({eqn.operands[1]: K}, block), theirs) < 1e-13


@given(cases())
def test_jacobians_through_them_are_right_in_every_order(case):
    f, x, K = case
    with jax.enable_x64(True):
        try:
            size = f(jnp.asarray(x), jnp.asarray(K)).size
        except (ValueError, TypeError):
            assume(False)
    assume(size)
    g = lambda x: jnp.tanh(f(jnp.sin(x), K))  # noqa: E731
    expected = jacrev(g, x)
    for engine in ("auto", "structured", "forward", "reverse"):
        assert relative_error(nj.jacobian(g, x, engine=engine), expected) < 1e-12
    assert relative_error(expected, differences(g, x)) < 1e-7


def network(strides):
    rng = np.random.default_rng(0)
    wide, K, narrow = (rng.standard_normal(s) for s in ((1, 1, 3, 8), (3, 3, 1, 8), (1, 1, 8, 4)))

    def f(x):
        h = jnp.tanh(lax.conv_general_dilated(x, wide, (1, 1), "SAME", dimension_numbers=LAYOUTS[0]))
        h = lax.conv_general_dilated(h, K, strides, "SAME", dimension_numbers=LAYOUTS[0], feature_group_count=8)
        return lax.conv_general_dilated(jnp.tanh(h), narrow, (1, 1), "SAME", dimension_numbers=LAYOUTS[0]).mean((1, 2))

    return f, rng.standard_normal((2, 9, 8, 3))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_no_grouped_convolution_is_left_of_a_separable_network(strides):
    f, x = network(strides)
    found = nj.jacobian(nj.network(f, batched=True), x)
    assert relative_error(found, np.stack([jacrev(f, x)[b, :, b] for b in range(2)])) < 1e-12
    with jax.enable_x64(True):
        left = str(jax.make_jaxpr(nj.jacobian_function(f))(jnp.asarray(x)))
    assert "feature_group_count=8" not in left
    assert "conv_general_dilated" in left


def test_products_by_sweeps_have_none_either():
    f, x = network((2, 2))
    with jax.enable_x64(True):
        program, _ = trace(f, jnp.asarray(x))
        (n,), (of,) = program.inputs, program.outputs
        for direction, block in (("push", [jnp.ones((1, *x.shape))]), ("pull", jnp.ones((1, 2, 4)))):
            run = swept(program, key(program), direction, (n,), of, None)
            left = str(jax.make_jaxpr(run)([jnp.asarray(x)], list(program.constants.values()), block))
            assert "feature_group_count=8" not in left
    J, v, u = nj.jacobian(nj.network(f, batched=True), x), np.cos(x), np.ones((2, 4))
    full = np.stack([jacrev(f, x)[b, :, b] for b in range(2)])
    assert relative_error(J @ v, np.einsum("bohwc,bhwc->bo", full, v)) < 1e-12
    assert relative_error(J.T @ u, np.einsum("bohwc,bo->bhwc", full, u)) < 1e-12


def test_they_have_second_derivatives():
    f, x = network((2, 1))
    x = x[:1, :4, :3]
    penalty = lambda x: jnp.sum(nj.jacobian_function(f)(x) ** 2)  # noqa: E731
    plain = lambda x: jnp.sum(jax.jacrev(f)(x) ** 2)  # noqa: E731
    with jax.enable_x64(True):
        assert relative_error(jax.grad(penalty)(jnp.asarray(x)), jax.grad(plain)(jnp.asarray(x))) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_sums_are_at_least_float32s(dtype):
    """Taps that cancel: summed in the dtype itself nothing right would be left."""
    rng = np.random.default_rng(0)
    x, K = rng.standard_normal((2, 8, 8, 4)), rng.standard_normal((5, 5, 1, 4))
    K[2:] = -K[:3]
    x, K = (jnp.asarray(a, dtype) for a in (x, K))
    f = lambda x: lax.conv_general_dilated(  # noqa: E731
        x, K, (1, 1), "SAME", dimension_numbers=LAYOUTS[0], feature_group_count=4
    )
    program, _ = trace(f, x)
    eqn = program.equations[0]
    with jax.enable_x64(True):
        wide, weights = np.asarray(x, np.float64), np.asarray(K, np.float64)
        expected = lax.conv_general_dilated(
            wide, weights, (1, 1), "SAME", dimension_numbers=LAYOUTS[0], feature_group_count=4
        )
    found = depthwise.convolved(program, eqn, x, K)
    assert found.dtype == x.dtype
    assert relative_error(np.asarray(found, np.float64), expected) < 2 * float(jnp.finfo(dtype).eps)
