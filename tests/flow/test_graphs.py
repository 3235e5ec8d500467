"""Networks that are no chains: what a layer's own Jacobian is taken by, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from tests.flow.models import sigma
from tests.oracles import jacrev

A, B, C = np.random.default_rng(0).standard_normal((3, 4, 4)) / 2
X = np.random.default_rng(1).standard_normal((3, 4))
TOLERANCE = 1e-12


def residual(x):
    a = nj.mark(jnp.tanh(x @ A), "a")
    b = nj.mark(jnp.sin(a @ B), "b")
    sum_ = nj.mark(a + b, "sum")
    return nj.mark(jnp.tanh(sum_ @ C), "c")


def spectrum_of(f, at):
    return np.stack([sigma(jacrev(f, one)) for one in at])


def agrees(spectrum, expected):
    return np.abs(spectrum.singular_values - expected).max() < TOLERANCE


def test_a_sum_is_differentiated_by_both_its_terms_side_by_side():
    flow = nj.gradient_flow(nj.network(residual, batched=True), X)
    assert flow["sum"].inputs == ("a", "b")
    assert np.abs(flow["sum"].own.singular_values - np.sqrt(2)).max() < TOLERANCE
    assert flow["sum"].own.size == (4, 8)
    assert flow["b"].inputs == ("a",)
    assert flow["a"].inputs == ("x",)


def test_the_output_by_a_layer_goes_by_every_path():
    flow = nj.gradient_flow(nj.network(residual, batched=True), X)
    a = np.tanh(X @ A)
    assert agrees(flow["a"].through, spectrum_of(lambda a: jnp.tanh((a + jnp.sin(a @ B)) @ C), a))
    assert agrees(
        flow["b"].through, np.stack([sigma(jacrev(lambda b, a=a: jnp.tanh((a + b) @ C), np.sin(a @ B))) for a in a])
    )
    assert agrees(flow.whole, spectrum_of(lambda x: residual(x), X))


def test_naming_blocks_takes_each_as_a_whole():
    flow = nj.gradient_flow(nj.network(residual, batched=True), X, layers=["a", "sum"])
    assert [layer.name for layer in flow.layers] == ["a", "sum"]
    assert flow["sum"].inputs == ("a",)
    assert agrees(flow["sum"].own, spectrum_of(lambda a: a + jnp.sin(a @ B), np.tanh(X @ A)))
    with pytest.raises(nj.UnknownNameError, match="'summ'"):
        nj.gradient_flow(nj.network(residual, batched=True), X, layers=["summ"])


def test_a_layer_by_a_value_and_what_is_made_of_it_holds_the_other_fixed():
    def net(x):
        a = nj.mark(jnp.tanh(x), "a")
        b = nj.mark(a @ B, "b")
        return nj.mark(a * b, "product")

    flow = nj.gradient_flow(nj.network(net, batched=True), X)
    a = np.tanh(X)
    expected = np.stack([sigma(np.hstack([np.diag(one @ B), np.diag(one)])) for one in a])
    assert flow["product"].inputs == ("a", "b")
    assert agrees(flow["product"].own, expected)


def test_several_inputs_stand_side_by_side():
    def net(left, right):
        return nj.mark(jnp.tanh(left @ A) * jnp.sin(right), "product")

    right = X[::-1].copy()
    flow = nj.gradient_flow(nj.network(net, batched=True), {"left": X, "right": right})
    assert flow["product"].inputs == ("left", "right")
    both = [
        np.hstack([np.diag(np.sin(r)) @ jacrev(lambda v: jnp.tanh(v @ A), one), np.diag(np.tanh(one @ A) * np.cos(r))])
        for one, r in zip(X, right, strict=True)
    ]
    assert agrees(flow.whole, np.stack([sigma(J) for J in both]))
    as_tuple = nj.gradient_flow(nj.network(net, batched=True), (X, right))
    assert np.array_equal(as_tuple.whole.singular_values, flow.whole.singular_values)


def test_behind_integers_flow_begins_at_the_embedding():
    table = np.random.default_rng(0).standard_normal((7, 4))

    def net(tokens):
        e = nj.mark(jnp.asarray(table)[tokens], "embedding")
        return nj.mark(jnp.tanh(e @ A), "h")

    flow = nj.gradient_flow(nj.network(net, batched=True), np.array([1, 5, 2]))
    assert flow["embedding"].own is None
    assert flow["h"].inputs == ("embedding",)
    assert flow.whole.by == ("embedding",)


def test_a_layer_that_the_output_does_not_use_is_said_to_be_unused():
    def net(x):
        nj.mark(x @ A, "beside")
        return {"y": nj.mark(jnp.tanh(x @ B), "h"), "z": x @ C}

    flow = nj.gradient_flow(nj.network(net, batched=True), X, of="y")
    assert flow["beside"].verdict == "unused"
    assert flow["beside"].through is None
    assert [layer.name for layer in flow.layers] == ["beside", "h", "z"]
    with pytest.raises(nj.ShapeError, match=r"several outputs \(y, z\)"):
        nj.gradient_flow(nj.network(net, batched=True), X)


def test_where_samples_see_each_other_each_is_taken_by_itself():
    def net(x):
        return nj.mark(jax.nn.relu((x - x.mean(0) + 1) @ A), "h")

    network = nj.network(net, batched=True)
    together = nj.gradient_flow(network, X)
    alone = [nj.gradient_flow(network, one[None]) for one in X]
    expected = np.concatenate([flow.whole.singular_values for flow in alone])
    assert np.array_equal(together.whole.singular_values, expected)
    assert together.whole.largest == 0  # a sample less its own mean does not depend on it
    assert together["h"].dead == alone[0]["h"].dead


def test_a_function_of_one_sample_has_no_axis_of_samples():
    flow = nj.gradient_flow(lambda x: residual(x), X[0])
    assert flow["b"].own.singular_values.shape == (1, 4)
    assert agrees(flow.whole, sigma(jacrev(residual, X[0]))[None])
    assert flow["b"].shape == (4,)


def test_layers_that_pass_on_or_rearrange_are_left_out():
    def net(x):
        h = nj.mark(jnp.tanh(x), "h")
        same = nj.mark(h, "dropout")
        flat = nj.mark(same.reshape(-1, 2, 2).transpose(0, 2, 1), "rearranged")
        return (flat**2).sum(-1)

    flow = nj.gradient_flow(nj.network(net, batched=True), X)
    assert [layer.name for layer in flow.layers] == ["h", "output"]
    assert flow["output"].inputs == ("h",)


def test_a_convolution_is_taken_with_all_its_places():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 3))
    dimensions = ("NHWC", "HWIO", "NHWC")

    def net(x):
        h = jax.lax.conv_general_dilated(x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=dimensions)
        return nj.mark(jax.nn.relu(nj.mark(h, "conv")), "relu").sum((1, 2))

    image = np.random.default_rng(1).standard_normal((2, 5, 5, 2))
    flow = nj.gradient_flow(nj.network(net, batched=True), image)
    J = np.asarray(nj.jacobian(nj.network(net, batched=True), image, of="conv")).reshape(2, 75, 50)
    assert agrees(flow["conv"].own, np.stack([sigma(one) for one in J]))
    assert flow["relu"].units == 75
    assert flow["conv"].dead is None


def test_a_small_budget_takes_samples_and_rows_in_pieces_and_gives_the_same():
    network = nj.network(residual, batched=True)
    x = np.random.default_rng(3).standard_normal((5, 4))
    whole, pieces = nj.gradient_flow(network, x), nj.gradient_flow(network, x, memory=600)
    for one, other in (
        (whole.whole, pieces.whole),
        (whole["b"].own, pieces["b"].own),
        (whole["a"].through, pieces["a"].through),
    ):
        assert np.abs(one.singular_values - other.singular_values).max() < TOLERANCE


def test_what_makes_no_sense_is_refused():
    network = nj.network(residual, batched=True)
    with pytest.raises(nj.RangeError, match="at least 1"):
        nj.gradient_flow(network, X, samples=0)
    with pytest.raises(nj.ShapeError, match="no samples"):
        nj.gradient_flow(network, X[:0])
    with pytest.raises(nj.NonFiniteError):
        nj.gradient_flow(network, np.full((2, 4), np.nan))
    with pytest.raises(nj.UnknownNameError, match="'d'"):
        nj.gradient_flow(network, X)["d"]
    with pytest.raises(nj.NotDifferentiableError):
        nj.gradient_flow(nj.network(lambda x: jnp.argmax(x, -1), batched=True), X)


def test_a_layer_begins_anew_where_other_layers_are_named_before_it():
    """tanh(tanh(3 x W)): beside a = x W the last layer is both tanh, beside b = tanh(3 a) the second alone."""
    W = np.random.default_rng(0).standard_normal((4, 4))

    def f(x):
        b = nj.mark(jnp.tanh(3 * nj.mark(x @ W, "a")), "b")
        return nj.mark(jnp.tanh(b), "c")

    network, x = nj.network(f, batched=True), np.random.default_rng(1).standard_normal((5, 4))
    b = np.tanh(3 * x @ W)
    by_b = 1 - np.tanh(b) ** 2
    for before, slopes in (("a", by_b * 3 * (1 - b**2)), ("b", by_b), ("a", by_b * 3 * (1 - b**2))):
        own = nj.gradient_flow(network, x, layers=[before, "c"]).layers[-1].own
        assert np.allclose([own.largest, own.smallest], [slopes.max(), slopes.min()], rtol=1e-9)
