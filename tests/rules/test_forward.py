"""Convolutions that are evaluated by their patches: the same values, and no convolution left."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

import netjac as nj
from netjac.graph.program import trace
from netjac.rules.forward import another_way, by_patches
from tests.oracles import jacrev, relative_error

LAYOUTS = [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("NHWC", "OIHW", "NCHW")]
sizes = st.integers(1, 4)


@st.composite
def cases(draw):
    layout, rng = draw(st.sampled_from(LAYOUTS)), np.random.default_rng(draw(st.integers(0, 99)))
    extents = {"N": draw(sizes), "H": draw(sizes), "W": draw(sizes), "C": draw(sizes)}
    kernel = {"H": draw(sizes), "W": draw(sizes), "I": extents["C"], "O": draw(sizes)}
    pads = st.tuples(st.integers(-1, 2), st.integers(-1, 3))
    parameters = {
        "window_strides": (draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        "padding": (draw(pads), draw(pads)),
        "rhs_dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "dimension_numbers": layout,
    }
    K = rng.standard_normal([kernel[c] for c in layout[1]])
    x = rng.standard_normal([extents[c] for c in layout[0]])
    return (lambda x, K: lax.conv_general_dilated(x, K, **parameters)), x, K


@given(cases())
def test_patches_times_the_kernel_are_the_convolution(case):
    f, x, K = case
    with jax.enable_x64(True):
        try:
            expected = f(jnp.asarray(x), jnp.asarray(K))
        except (ValueError, TypeError):  # a padding that takes more away than there is
            assume(False)
        assume(expected.size)
        program, _ = trace(f, jnp.asarray(x), jnp.asarray(K))
        found = by_patches(program, program.equations[0], x, K)
        assert relative_error(found, expected) < 1e-13


@pytest.mark.parametrize(("side", "other"), [(2, True), (3, False)])
def test_a_kernel_wider_than_its_output_is_evaluated_by_patches(side, other):
    K = np.random.default_rng(0).standard_normal((3, 3, 4, 5))
    f = lambda x: jnp.tanh(lax.conv_general_dilated(x, K, (1, 1), "SAME", dimension_numbers=LAYOUTS[0]))  # noqa: E731
    x = np.random.default_rng(1).standard_normal((2, side, side, 4))
    with jax.enable_x64(True):
        program, _ = trace(f, jnp.asarray(x))
    place = next(i for i, eqn in enumerate(program.equations) if eqn.name.startswith("conv"))
    assert (another_way(program, program.equations[place]) is not None) == other
    assert relative_error(nj.jacobian(f, x), jacrev(f, x)) < 1e-12
    with jax.enable_x64(True):
        left = str(jax.make_jaxpr(nj.jacobian_function(f))(jnp.asarray(x)))
    assert ("conv_general_dilated" in left) != other
