"""Convolutions and pools written out as windows, entry by entry against the dense Jacobian, and in products."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

import netjac as nj
from netjac.factors.entries import matrix
from netjac.graph.program import trace
from netjac.rules import convolution as rule
from netjac.rules import linearise
from tests.oracles import entries, jacrev, per_sample, relative_error

INIT = {lax.max: -np.inf, lax.min: np.inf, lax.add: 0.0}
NHWC = ("NHWC", "HWIO", "NHWC")


def holds(f, x):
    """Whether the one equation of f is written out by its rule; if so, (dense, sparse) entry by entry as JAX's Jacobian.

    One compiled program finds the numbers, the dense array and what is expected.
    """
    with jax.enable_x64(True):
        program, _ = trace(f, jax.ShapeDtypeStruct(x.shape, jnp.float64))
        eqn = next(e for e in program.equations if e.name.startswith(("conv", "reduce_window")))
        local = linearise(program, eqn, 0, 0)
        local = getattr(local, "written", local)
        if local is None:
            return False

        def both(x, constants):
            values = program.evaluate([x], constants, range(len(program.equations)))
            numbers = None if local.numbers is None else local.numbers(values)
            return numbers, entries(local.pattern, numbers), jax.jacrev(f)(x)

        numbers, found, expected = jax.jit(both)(jnp.asarray(x), list(program.constants.values()))
        assert relative_error(found, expected) < 1e-13
        sparse = matrix(local.pattern, np.ones(()) if numbers is None else np.asarray(numbers)).toarray()
        assert relative_error(sparse, np.reshape(expected, sparse.shape)) < 1e-13
        return True


explicit = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda p: [p] * 2)
pads = st.one_of(st.sampled_from(["SAME", "VALID"]), explicit)


@st.composite
def convolutions(draw, strided=False):
    plain = strided is None
    groups = 1 if plain else draw(st.sampled_from([1, 1, 2]))
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    K = rng.standard_normal((draw(st.integers(1, 3)), draw(st.integers(1, 4)), channels[0] // groups, channels[1]))
    dilated = (1, 1) if strided or plain else draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]))
    parameters = {
        "window_strides": (1, 1) if plain else (draw(st.integers(1 + strided, 3)), draw(st.integers(1, 2))),
        "padding": draw(pads if dilated == (1, 1) else explicit),
        "rhs_dilation": (1, 1) if strided else (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        "lhs_dilation": dilated,
        "feature_group_count": groups,
        "dimension_numbers": NHWC,
    }  # fmt: skip
    x = rng.standard_normal((draw(st.integers(1, 2)), draw(st.integers(2, 7)), draw(st.integers(2, 6)), channels[0]))
    return (lambda x: lax.conv_general_dilated(x, K.astype(x.dtype), **parameters)), x


@st.composite
def pools(draw):
    reducer = draw(st.sampled_from([lax.max, lax.min, lax.add]))
    window = (1, draw(st.integers(1, 3)), draw(st.integers(1, 4)), 1)
    strides = (1, draw(st.integers(1, 3)), draw(st.integers(1, 2)), 1)
    low = draw(st.integers(0, 1)), draw(st.integers(0, 2))
    padding = ((0, 0), (low[0], draw(st.integers(0, 1))), (low[1], 0), (0, 0))
    assume(low[0] < window[1] and low[1] < window[2] and padding[1][1] < window[1])
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal(
        (draw(st.integers(1, 2)), draw(st.integers(2, 7)), draw(st.integers(2, 6)), draw(st.integers(1, 2)))
    )
    return (lambda x: lax.reduce_window(x, INIT[reducer], reducer, window, strides, padding)), x


@settings(max_examples=25)
@given(convolutions())
def test_a_convolution_written_out_has_every_entry(case):
    assume(holds(*case))


@settings(max_examples=30)
@given(pools())
def test_a_pool_written_out_has_every_entry(case):
    assume(holds(*case))


@settings(max_examples=25)
@given(convolutions(strided=True), st.integers(0, 9))
def test_a_strided_convolution_is_pulled_by_residue(case, seed):
    f, x = case
    assume(0 not in jax.eval_shape(f, jax.ShapeDtypeStruct(x.shape, jnp.float32)).shape)
    with jax.enable_x64(True):
        program, _ = trace(f, jax.ShapeDtypeStruct(x.shape, jnp.float64))
        place = next(i for i, e in enumerate(program.equations) if e.name.startswith("conv"))
        local = linearise(program, program.equations[place], 0, 0)

        def both(x, constants, block):
            values = program.evaluate([x], constants, range(place + 1))
            return local.pull(values, block), jax.vmap(jax.vjp(f, x)[1])(block)[0]

        block = np.random.default_rng(seed).standard_normal((3, *jax.eval_shape(f, x).shape))
        found, expected = jax.jit(both)(jnp.asarray(x), list(program.constants.values()), block)
        assert relative_error(found, expected) < 1e-13


@settings(max_examples=25)
@given(convolutions(strided=None), st.integers(1, 7), st.sampled_from([1, 2000, 2**22]))
def test_a_convolution_of_stride_one_is_pulled_by_its_taps(case, vectors, at_once):
    f, x = case
    assume(0 not in jax.eval_shape(f, jax.ShapeDtypeStruct(x.shape, jnp.float32)).shape)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        # So few bytes at once that there are runs of images, and a rest.
        patch.setattr(rule, "MOST_AT_ONCE", at_once)
        program, _ = trace(f, jax.ShapeDtypeStruct(x.shape, jnp.float64))
        place = next(i for i, e in enumerate(program.equations) if e.name.startswith("conv"))
        local = linearise(program, program.equations[place], 0, 0)
        assume(local.pull is not None)

        def both(x, constants, block):
            values = program.evaluate([x], constants, range(place + 1))
            return local.pull(values, block), jax.vmap(jax.vjp(f, x)[1])(block)[0]

        block = np.random.default_rng(vectors).standard_normal((vectors, *jax.eval_shape(f, x).shape))
        found, expected = jax.jit(both)(jnp.asarray(x), list(program.constants.values()), block)
        assert relative_error(found, expected) < 1e-13


@pytest.mark.parametrize(
    ("width", "size", "fan", "padding", "by_taps"),
    [
        (8, (3, 3), 16, "SAME", False),
        (8, (3, 3), 16, "VALID", True),
        (8, (3, 3), 32, "VALID", False),
        (20, (3, 3), 16, "VALID", False),
        (20, (3, 3), 3, "VALID", True),
        (8, (3, 3), 3, "SAME", True),
        (8, (1, 1), 3, "SAME", False),
        (2, (3, 3), 16, "SAME", True),
        (3, (3, 3), 16, "SAME", False),
    ],
)
def test_what_xla_pulls_as_fast_is_left_to_it(width, size, fan, padding, by_taps):
    f = lambda x, K: conv(x, K, padding=padding)  # noqa: E731
    program, _ = trace(f, jnp.zeros((2, width, width, fan)), jnp.zeros((*size, fan, 4)))
    assert (linearise(program, program.equations[0], 0, 0).pull is not None) == by_taps


def test_equal_entries_of_a_pool_have_the_first_win_as_in_jax():
    x = np.zeros((1, 5, 5, 1))
    assert holds(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"), x)


def test_a_volume_and_a_row_are_written_out_too():
    rng = np.random.default_rng(0)
    row, K = rng.standard_normal((2, 9, 2)), rng.standard_normal((4, 2, 3))
    assert holds(
        lambda x: lax.conv_general_dilated(x, K.astype(x.dtype), (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
        row,
    )
    volume, K = rng.standard_normal((1, 2, 4, 3, 4)), rng.standard_normal((3, 2, 2, 1, 2))
    assert holds(lambda x: lax.conv_general_dilated(x, K.astype(x.dtype), (1, 2, 1), "SAME"), volume)


@settings(max_examples=12)
@given(st.lists(st.one_of(convolutions(), pools()), min_size=2, max_size=3), st.integers(0, 9))
def test_local_layers_in_a_row_agree_in_every_order_dense_and_sparse(layers, seed):
    """Each layer is as drawn, its input's channels repeated or cut to what it takes."""

    def f(x):
        for layer, sample in layers:
            wanted = sample.shape[-1]
            x = jnp.tanh(jnp.concatenate([x] * wanted, -1)[..., :wanted])
            x = layer(x)
        return x

    x = np.random.default_rng(seed).standard_normal((2, 8, 7, 2))
    assume(0 not in jax.eval_shape(f, jax.ShapeDtypeStruct(x.shape, jnp.float32)).shape)
    expected = per_sample(jacrev(f, x), 4)
    network = nj.network(f, batched=True)
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(network, x, engine=engine), expected) < 1e-12, engine
    one = nj.jacobian(network, x)[1].to_scipy().toarray()
    assert relative_error(one, expected[1].reshape(one.shape)) < 1e-12


def conv(x, K, strides=(1, 1), padding="SAME", dilated=(1, 1)):
    return lax.conv_general_dilated(x, K.astype(x.dtype), strides, padding, dilated, dimension_numbers=NHWC)


def drawn(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


K, D = drawn(3, 3, 2, 3), drawn(3, 3, 3, 2)
UP = {"padding": [(1, 2), (1, 2)], "dilated": (2, 2)}
EDGES = ((0, 0), (1, 2), (0, 3), (0, 0))


def unet(x):
    h = jnp.tanh(conv(jnp.tanh(conv(x, K, (2, 2))), D, **UP))
    return conv(jnp.concatenate([x, h], -1)[..., :2], K)


PLACED = {
    "pad": (lambda x: jnp.pad(jnp.sin(x), EDGES), "stencil"),
    "pad, then a convolution": (lambda x: conv(jnp.pad(jnp.sin(x), EDGES), K, padding="VALID"), "stencil"),
    "pad, reversed and cut": (lambda x: jnp.flip(jnp.pad(x, EDGES), 1)[:, 1:4], "stencil"),
    "cropped and spread by a pad": (
        lambda x: lax.pad(jnp.sin(x), jnp.zeros((), x.dtype), ((0, 0, 0), (-1, 2, 1), (2, -1, 0), (0, 0, 0))), "stencil",
    ),
    "transposed convolution": (lambda x: conv(jnp.sin(x), K, padding=[(1, 2), (2, 1)], dilated=(2, 3)), "stencil"),
    "two transposed convolutions": (lambda x: conv(jnp.sin(conv(x, K, **UP)), D, **UP), "stencil"),
    "down and up again": (lambda x: conv(jnp.tanh(conv(jnp.tanh(x), K, (2, 2))), D, **UP), "dense"),
    "concatenated": (lambda x: conv(jnp.concatenate([jnp.sin(x), x * 2, x[:, :1]], 1), K), "stencil"),
    "single entries": (lambda x: jnp.stack([x[:, 2] * x[:, 3], jnp.sin(x[:, 1])], 1), "block diagonal"),
    "skipped past": (unet, "stencil"),
    "a pool of columns, padded": (
        lambda x: jnp.pad(lax.reduce_window(conv(x, K), -jnp.inf, lax.max, (1, 1, 2, 1), (1, 1, 2, 1), "VALID"), EDGES),
        "stencil",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACED)
def test_what_puts_entries_in_places_stays_local_in_every_order(name):
    f, kind = PLACED[name]
    x = drawn(2, 6, 6, 2)
    expected = per_sample(jacrev(f, x), 4)
    network = nj.network(f, batched=True)
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(network, x, engine=engine), expected) < 1e-13, engine
    J = nj.jacobian(network, x)
    assert J.structure.kind == kind
    sparse = J[1].to_scipy().toarray()
    assert relative_error(sparse, expected[1].reshape(sparse.shape)) < 1e-13


def test_padding_before_a_convolution_is_the_convolutions_own():
    x = drawn(1, 8, 8, 2)
    apart = nj.jacobian(nj.network(lambda x: conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), K, padding="VALID"),
                                   batched=True), x)  # fmt: skip
    whole = nj.jacobian(nj.network(lambda x: conv(x, K), batched=True), x)
    assert apart.structure.entries == whole.structure.entries
    assert (apart[0].to_scipy() != whole[0].to_scipy()).nnz == 0


def test_a_residual_image_network_adds_the_identity_to_a_stencil():
    rng = np.random.default_rng(3)
    K, L = rng.standard_normal((3, 3, 2, 4)), rng.standard_normal((3, 3, 4, 2))

    def f(x):
        h = jax.nn.relu(lax.conv_general_dilated(x, K.astype(x.dtype), (1, 1), "SAME", dimension_numbers=NHWC))
        return x + lax.conv_general_dilated(h, L.astype(x.dtype), (1, 1), "SAME", dimension_numbers=NHWC)

    x = rng.standard_normal((1, 12, 12, 2))
    J = nj.jacobian(nj.network(f, batched=True), x)
    expected = jacrev(f, x)[0][:, :, :, 0]
    assert J.structure.kind == "stencil"
    sparse = J[0].to_scipy()
    assert sparse.nnz < 0.4 * sparse.shape[0] * sparse.shape[1]
    assert relative_error(sparse.toarray(), expected.reshape(sparse.shape)) < 1e-13
    assert relative_error(np.asarray(J)[0], expected) < 1e-13


@pytest.mark.parametrize("side", [64, 128])
def test_the_plan_of_an_image_network_grows_with_the_pixels_not_with_their_square(side):
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((3, 3, *c)).astype("float32") for c in ((1, 16), (16, 16), (16, 1))]

    def f(x):
        for K in kernels[:-1]:
            x = jax.nn.relu(lax.conv_general_dilated(x, K, (1, 1), "SAME", dimension_numbers=NHWC))
        return lax.conv_general_dilated(x, kernels[-1], (1, 1), "SAME", dimension_numbers=NHWC)

    J = nj.jacobian(nj.network(f, batched=True), np.zeros((1, side, side, 1), "float32"))
    assert J.structure.kind == "stencil"
    assert J.structure.entries == 49 * side**2
    assert J[0].to_scipy().nnz == (7 * side - 12) ** 2
