# ruff: noqa: E501  the table of functions reads as a table
"""Every structure a rule claims, entry by entry against the dense local Jacobian, and every primitive end to end."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import netjac as nj
from netjac.graph.program import trace
from netjac.precision import precise
from netjac.rules import Explicit, linearise
from tests.oracles import differences, entries, jacfwd, jacrev, relative_error

RNG = np.random.default_rng(7)


def draw(*shape):
    return RNG.standard_normal(shape)


def claims_hold(f, x, tolerance=1e-12):
    """Each equation's claimed local Jacobian against JAX's own of that equation alone; all in one compiled program."""
    with precise(True):
        program, _ = trace(f, jnp.asarray(x))
        claims = list(claims_of(program))

        def both(x, constants):
            values = program.evaluate([x], constants, range(len(program.equations)))
            return [(jacobian_of(*at, values), numbers_of(local, values)) for *at, local in claims]

        found = jax.jit(both)(jnp.asarray(x), list(program.constants.values()))
        for claim, (full, claimed) in zip(claims, found, strict=True):
            one_claim(program, *claim, np.asarray(full), claimed, tolerance)
        return len(claims)


def claims_of(program):
    """(equation, operand, result, local Jacobian) wherever something of the input arrives."""
    reached = set(program.inputs)
    for eqn in program.equations:
        for place, operand in enumerate(eqn.operands):
            for which, result in enumerate(eqn.results):
                if operand in reached and program.differentiable(operand) and program.differentiable(result):
                    reached.add(result)
                    if not any(np.issubdtype(program.dtype(n), np.complexfloating) for n in (*eqn.operands, result)):
                        yield eqn, place, which, linearise(program, eqn, place, which)


def jacobian_of(eqn, place, which, values):
    """JAX's own, of one equation by one operand."""
    inputs = [values[n] for n in eqn.operands]

    def along(v):
        return eqn.bind(*inputs[:place], v, *inputs[place + 1 :])[which]

    mode = jax.jacrev if eqn.name in ("custom_vjp_call", "custom_linear_solve") else jax.jacfwd
    return mode(along)(inputs[place])


def numbers_of(local, values):
    """All entries of a local Jacobian that is written down; None of another."""
    if not isinstance(local, Explicit):
        return None
    return entries(local.pattern, None if local.numbers is None else local.numbers(values))


def one_claim(program, eqn, place, which, local, full, claimed, tolerance):
    if local is None:
        assert not full.any(), eqn.name
    elif isinstance(local, Explicit):
        assert relative_error(claimed, full) < tolerance, (eqn.name, str(local.pattern))
    else:
        rank = len(program.shape(eqn.results[which]))
        for inn, out in local.ties:
            diagonal = np.eye(full.shape[out], dtype=bool)
            off = np.moveaxis(full, (out, rank + inn), (0, 1))[~diagonal]
            assert not off.any(), (eqn.name, inn, out)


def right(f, x, tolerance=1e-11):
    """J in every order against JAX's modes and central differences, and every claim on the way."""
    expected = jacfwd(f, x)
    assert claims_hold(f, x) or not expected.any()
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(f, x, engine=engine), expected) < tolerance, engine
    assert relative_error(differences(jax.jit(f), x), expected) < 1e-5


UNARY = {
    "abs": lambda x: jnp.abs(x), "arccos": lambda x: jnp.arccos(x / 4), "arccosh": lambda x: jnp.arccosh(x * x + 2),
    "arcsin": lambda x: jnp.arcsin(x / 4), "arcsinh": jnp.arcsinh, "arctan": jnp.arctan, "arctanh": lambda x: jnp.arctanh(x / 4),
    "cbrt": lambda x: jnp.cbrt(x + 5), "cos": jnp.cos, "cosh": jnp.cosh, "digamma": lambda x: lax.digamma(x + 5), "erf": lax.erf,
    "erfc": lax.erfc, "erf_inv": lambda x: lax.erf_inv(x / 4), "exp": jnp.exp, "exp2": jnp.exp2, "expm1": jnp.expm1,
    "integer_pow": lambda x: x**3, "lgamma": lambda x: lax.lgamma(x + 5), "log": lambda x: jnp.log(x + 5),
    "log1p": lambda x: jnp.log1p(x + 4), "logistic": jax.nn.sigmoid, "rsqrt": lambda x: lax.rsqrt(x + 5), "sin": jnp.sin,
    "sinh": jnp.sinh, "sqrt": lambda x: jnp.sqrt(x + 5), "square": jnp.square, "tan": lambda x: jnp.tan(x / 4), "tanh": jnp.tanh,
    "neg": jnp.negative, "clip": lambda x: jnp.clip(x, -0.5, 0.5), "relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu,
    "elu": jax.nn.elu, "softplus": jax.nn.softplus, "leaky_relu": jax.nn.leaky_relu, "bessel_i0e": lax.bessel_i0e,
    "where": lambda x: jnp.where(x > 0, x * x, x), "pow": lambda x: (x + 5) ** 1.5, "atan2": lambda x: jnp.arctan2(x, 2 + x),
    "max": lambda x: jnp.maximum(x, 0.3 * x + 0.1), "min": lambda x: jnp.minimum(x, 0.3), "rem": lambda x: lax.rem(x, 0.7),
    "igamma": lambda x: lax.igamma(2.0, x + 5), "igammac": lambda x: lax.igammac(2.0, x + 5),
    "xlogy": lambda x: jax.scipy.special.xlogy(2.0, x + 5), "betainc": lambda x: jax.scipy.special.betainc(2.0, 3.0, x / 8 + 0.5),
    "convert": lambda x: x.astype(jnp.float64) * 2, "logaddexp": lambda x: jnp.logaddexp(x, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_an_elementwise_function_is_a_diagonal(name):
    right(lambda x: UNARY[name](x), draw(2, 3))
    assert nj.jacobian(UNARY[name], draw(2, 3)).structure.kind == "diagonal"


@pytest.mark.parametrize("name", ["sign", "floor", "ceil", "round", "stop_gradient", "comparison"])
def test_a_step_function_has_a_zero_jacobian(name):
    step = {"comparison": lambda x: (x > 0).astype(x.dtype), "stop_gradient": lax.stop_gradient}.get(name)
    f = step or getattr(jnp, name)
    J = nj.jacobian(lambda x: f(x), draw(2, 3))
    assert J.structure.kind == "zero"
    assert not np.asarray(J).any()


sizes = st.integers(1, 4)


@settings(max_examples=6)
@given(st.tuples(sizes, sizes, sizes), st.sampled_from([jnp.multiply, jnp.add, jnp.subtract, jnp.divide, jnp.maximum]))
def test_a_binary_function_broadcasts(shape, function):
    other = draw(1, shape[1], 1) + 5
    right(lambda x: function(x, other), draw(*shape))
    right(lambda x: function(other, x + 9), draw(1, 1, shape[2]))
    right(lambda x: function(x[:, :1], x.sum(-1, keepdims=True) + 7), draw(*shape[:2]))


@settings(max_examples=5)
@given(st.tuples(sizes, sizes, sizes, sizes))
def test_a_contraction_by_either_operand_and_by_both(shape):
    b, i, k, j = shape
    W, B = draw(k, j), draw(b, k, j)
    right(lambda x: x @ W, draw(b, i, k))
    right(lambda x: jnp.einsum("bik,bkj->bji", x, B), draw(b, i, k))
    right(lambda x: jnp.einsum("bik,bkj->bij", draw(b, i, k) * 0 + 1, x), draw(b, k, j))
    right(lambda x: jnp.einsum("bik,bjk->bij", x, x), draw(b, i, k))
    right(lambda x: jnp.einsum("bik->k", x) * x[0, 0], draw(b, i, k))


@settings(max_examples=6)
@given(
    st.sampled_from(
        [
            ((4, 3), (6, 2)),
            ((2, 6), (3, 4)),
            ((2, 3, 4), (6, 4)),
            ((6, 4), (2, 3, 2, 2)),
            ((1, 5), (5,)),
            ((4,), (2, 1, 2)),
        ]
    )
)
def test_a_reshape_keeps_what_it_can(shapes):
    old, new = shapes
    right(lambda x: jnp.sin(x.reshape(new)) * 2, draw(*old))


SHAPES = {
    "transpose": lambda x: jnp.transpose(x, (2, 0, 1)),
    "broadcast": lambda x: jnp.broadcast_to(x[:, None], (2, 3, 3, 4)) * 2,
    "squeeze": lambda x: jnp.squeeze(x[:, :1], 1),
    "reshape that reads in another order": lambda x: lax.reshape(x, (6, 4), (2, 0, 1)),
    "median of a middle axis": lambda x: jnp.median(x, 1),
    "expand_dims": lambda x: x[:, None, :, None],
    "slice": lambda x: x[:, 1:, ::2],
    "rev": lambda x: x[:, ::-1],
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1))),
    "negative pad": lambda x: lax.pad(x, 0.0, ((0, 0, 0), (-1, 1, 1), (0, 0, 0))),
    "concatenate": lambda x: jnp.concatenate([x, x * x], 1),
    "stack": lambda x: jnp.stack([x, x * x], 1),
    "unstack": lambda x: sum(jnp.unstack(x, axis=1)),
    "split": lambda x: jnp.split(x, [1], 1)[1],
    "tile": lambda x: jnp.tile(x, (1, 2, 1)),
    "repeat": lambda x: jnp.repeat(x, 2, 1),
    "roll": lambda x: jnp.roll(x, 1, 2),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (0, 1, 0), (2, 2, 4)),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x * x, x[:, :1], (0, 1, 0)),
    "gather": lambda x: x[:, jnp.array([0, 2, 2])],
    "gather along": lambda x: jnp.take_along_axis(x, jnp.array([[[0, 1]], [[3, 3]]]), 2),
    "scatter": lambda x: (x * x).at[:, jnp.array([0, 2])].set(x[:, :2]),
    "scatter add": lambda x: (x * x).at[:, jnp.array([0, 0])].add(x[:, :2]),
    "scatter mul": lambda x: (x * x).at[:, 1].multiply(x[:, 0]),
    "sort": lambda x: jnp.sort(x, 1),
    "top_k": lambda x: lax.top_k(x, 2)[0],
    "cumsum": lambda x: jnp.cumsum(x, 1),
    "cumprod": lambda x: jnp.cumprod(x, 2),
    "cummax": lambda x: lax.cummax(x, 1),
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 2),
    "reduce_max": lambda x: x.max(1),
    "reduce_min": lambda x: x.min((1, 2)),
    "reduce_prod": lambda x: x.prod(2),
    "reduce_sum": lambda x: x.sum(1) + x.sum(),
    "argmax as index": lambda x: x[:, 0] * jnp.argmax(x[:, 1], -1, keepdims=True),
    "softmax": lambda x: jax.nn.softmax(x, 1),
    "log_softmax": lambda x: jax.nn.log_softmax(x, -1),
    "logsumexp": lambda x: jax.nn.logsumexp(x, 1),
    "barrier": lambda x: lax.optimization_barrier((x, x * 2))[1],
    "fft": lambda x: jnp.abs(jnp.fft.rfft(x, axis=1)) ** 2,
    "cholesky": lambda x: jnp.linalg.cholesky(x @ jnp.swapaxes(x, 1, 2) + 4 * jnp.eye(3)),
    "eigh": lambda x: jnp.linalg.eigvalsh(x @ jnp.swapaxes(x, 1, 2)),
    "scan": lambda x: lax.scan(lambda c, t: (jnp.tanh(c + t), c * t), x[0, 0], x[0])[1],
    "scan over time of a batch": lambda x: lax.scan(lambda c, t: (jnp.tanh(c + t), c), x[:, 0], jnp.swapaxes(x, 0, 1))[0],
    "cond": lambda x: lax.cond(x[0, 0, 0] > 0, jnp.sin, jnp.cos, x),
    "while": lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1],
    "fori": lambda x: lax.fori_loop(0, 3, lambda i, c: c * jnp.cos(c), x),
    "remat": jax.checkpoint(lambda x: jnp.sin(x) * x),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_primitive_claims_only_what_holds(name):
    pushed_only = name in ("while",)
    x = draw(2, 3, 4)
    f = SHAPES[name]
    assert claims_hold(f, x, 1e-10) or name == "barrier"
    expected = jacfwd(f, x)
    engines = ("auto", "reverse") if name == "fft" else ("auto", "forward", "reverse")
    for engine in engines:
        assert relative_error(nj.jacobian(f, x, engine=engine), expected) < 1e-9
    assert relative_error(differences(jax.jit(f), x), expected) < 1e-5
    assert pushed_only or relative_error(jacrev(f, x), expected) < 1e-9


@pytest.mark.parametrize(
    "name",
    sorted(
        set(SHAPES)
        - {"scan", "cond", "reduce_sum", "squeeze", "transpose", "barrier", "reshape that reads in another order"}
    ),
)
def test_samples_stay_apart_through_a_primitive(name):
    J = nj.jacobian(nj.network(SHAPES[name], batched=True), draw(2, 3, 4))
    assert J.batch == 2, J.structure
    assert J.structure.per_sample


def test_fft_forwards_is_refused_not_wrong():
    with pytest.raises(nj.NotDifferentiableError, match="complex"):
        nj.jacobian(SHAPES["fft"], draw(2, 3, 4), engine="forward")


@jax.custom_jvp
def straight(x):
    return jnp.round(x)


straight.defjvp(lambda primals, tangents: (straight(*primals), tangents[0]))


@jax.custom_vjp
def backwards_only(x):
    return jnp.sin(x)


backwards_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (3 * u * jnp.cos(x),))


@jax.custom_jvp
def mixing(x):
    return x


mixing.defjvp(lambda primals, tangents: (primals[0], tangents[0].sum() * jnp.ones_like(primals[0])))


def test_a_custom_derivative_is_followed_not_its_primal():
    x = draw(3, 2)
    for engine in ("auto", "forward", "reverse"):
        found = np.asarray(nj.jacobian(straight, x, engine=engine))
        np.testing.assert_array_equal(found.reshape(6, 6), np.eye(6))
    assert claims_hold(straight, x)
    assert claims_hold(backwards_only, x)
    expected = np.einsum("ij,ik,jl->ijkl", 3 * np.cos(x), np.eye(3), np.eye(2))
    np.testing.assert_allclose(np.asarray(nj.jacobian(backwards_only, x)), expected, atol=1e-14)


def test_a_custom_derivative_that_mixes_samples_is_not_per_sample_though_its_primal_is():
    J = nj.jacobian(nj.network(mixing, batched=True), draw(3, 2))
    assert J.batch is None
    np.testing.assert_array_equal(np.asarray(J), np.ones((3, 2, 3, 2)))


LAYOUTS = [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("NWC", "WIO", "NWC"), ("NDHWC", "DHWIO", "NDHWC")]


WINDOWS = [(1, "VALID", 1, 1), (2, "SAME", 1, 1), (1, "SAME", 2, 1), (1, [(1, 0)], 1, 2)]
CHANNELS = [(2, 3, 1), (1, 8, 1), (4, 4, 4), (4, 2, 2)]
CONVOLUTIONS = [(LAYOUTS[0], *pair) for pair in product(WINDOWS, CHANNELS)]
CONVOLUTIONS += [(layout, *pair) for layout in LAYOUTS[1:] for pair in zip(WINDOWS, CHANNELS, strict=True)]


@pytest.mark.parametrize(("layout", "window", "channels"), CONVOLUTIONS, ids=str)
def test_a_convolution_by_input_and_by_kernel(layout, window, channels):
    (stride, padding, dilation, spread), (inputs, outputs, groups) = window, channels
    rank = len(layout[0]) - 2
    extent = dict(zip("DHW", (3, 4, 3), strict=True))
    x = draw(*({"N": 2, "C": inputs}.get(c) or extent[c] for c in layout[0]))
    W = draw(*({"I": inputs // groups, "O": outputs}.get(c) or 2 for c in layout[1]))

    def conv(x, W):
        return lax.conv_general_dilated(
            x,
            W,
            (stride,) * rank,
            padding if isinstance(padding, str) else padding * rank,
            (spread,) * rank,
            (dilation,) * rank,
            layout,
            feature_group_count=groups,
        )

    for f, at in ((lambda x: jnp.tanh(conv(x, W)), x), (lambda W: jnp.tanh(conv(x, W)), W)):
        assert claims_hold(f, at)
        assert relative_error(nj.jacobian(f, at), jacrev(f, at)) < 1e-12


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((2, 4, 6, 2), (1, 2, 3, 1), (1, 2, 3, 1)),
        ((2, 5, 7, 1), (1, 2, 3, 1), (1, 2, 3, 1)),
        ((2, 4, 6, 2), (1, 4, 6, 1), (1, 4, 6, 1)),
        ((2, 5, 5, 2), (1, 3, 3, 1), (1, 2, 2, 1)),
        ((1, 4, 6, 2), (1, 2, 2, 2), (1, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize(("function", "start"), [(lax.max, -jnp.inf), (lax.min, jnp.inf), (lax.add, 0.0)])
def test_a_pool_tiling_with_a_rest_or_overlapping(shape, window, stride, function, start):
    f = lambda x: jnp.sin(lax.reduce_window(x, start, function, window, stride, "VALID"))  # noqa: E731
    x = np.round(draw(*shape), 1)
    assert claims_hold(f, x)
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(f, x, engine=engine), jacrev(f, x)) < 1e-12


def test_of_equal_entries_in_a_window_the_first_has_the_derivative():
    f = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID")  # noqa: E731
    np.testing.assert_array_equal(np.asarray(nj.jacobian(f, np.array([3.0, 1, 4, 4]))), [[1, 0, 0, 0], [0, 0, 1, 0]])
