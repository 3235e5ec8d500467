"""The planner: cuts where it should, multiplies no seeds, and brackets chains as cheaply as any bracketing."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netjac as nj
from netjac.plan.chain import Link, best_bracket

RNG = np.random.default_rng(0)


def mlp(widths, activation=jax.nn.relu):
    weights = [jnp.asarray(RNG.standard_normal(s) / np.sqrt(s[0]), jnp.float32) for s in itertools.pairwise(widths)]

    def f(x):
        for W in weights[:-1]:
            x = activation(x @ W)
        return x @ weights[-1]

    return nj.network(f, batched=True)


def test_the_autoencoder_is_cut_at_its_code_by_the_plan_itself():
    plan = nj.explain(mlp((784, 512, 32, 512, 784)), np.ones((8, 784), np.float32))
    assert plan.order == "cut"
    products = [step for step in plan.steps if step.form == "product"]
    last = products[-1]
    assert last.operations == 2 * 8 * 784 * 32 * 784
    assert last.pattern.data_shape == (8, 784, 784)
    others = {other.name: other.operations for other in plan.alternatives}
    assert plan.operations * 7 < min(others[f"{way}, structured"] for way in ("reverse", "forward"))
    assert plan.operations * 14 < min(others["plain reverse"], others["plain forward"])


def test_seeds_are_never_multiplied():
    for layers in (2, 3, 5):
        plan = nj.explain(mlp((16,) * (layers + 1), jnp.tanh), np.ones((4, 16), np.float32))
        assert plan.count("product") == layers - 1


def test_a_gelu_is_one_scaling():
    plan = nj.explain(mlp((8, 9, 3), jax.nn.gelu), np.ones((4, 8), np.float32), engine="reverse")
    blocks = [step for step in plan.steps if step.form == "scale" and step.pattern.data_shape == (4, 3, 9)]
    assert len(blocks) == 1


def test_plain_modes_have_the_bytes_of_their_blocks_of_vectors():
    """Of x W₁, tanh, W₂ with n = 5, h = 4, m = 3: m blocks of vectors back, n forward, beside the three local derivatives."""
    samples, n, h, m, width = 2, 5, 4, 3, 4
    plan = nj.explain(mlp((n, h, m), jnp.tanh), np.ones((samples, n), np.float32))
    ways = {other.name: other for other in plan.alternatives}
    local = width * (n * h + samples * h + h * m)
    found = sum(step.moved for step in plan.steps if step.form == "factor")
    for name, vectors in (("plain reverse", m), ("plain forward", n)):
        blocks = width * vectors * samples * np.array([n + h, h + h, h + m])
        assert ways[name].moved == found + local + blocks.sum()
        assert ways[name].peak == local + blocks.max()


def test_plain_reverse_adds_where_a_value_is_used_twice_in_every_sample():
    W = np.eye(3, dtype=np.float32)
    network = nj.network(lambda x: jnp.tanh(x) * 2 + jnp.tanh(x) @ W, batched=True)
    one, four = (nj.explain(network, np.ones((batch, 3), np.float32)) for batch in (1, 4))
    for single, many in zip(one.alternatives[:2], four.alternatives[:2], strict=True):
        assert many.operations == 4 * single.operations
        assert many.moved > 3 * single.moved
    reverse, forward = four.alternatives[:2]
    assert reverse.operations > forward.operations
    assert four.to_dict()["alternatives_bytes"] == {other.name: other.moved for other in four.alternatives}
    assert four.to_dict()["alternatives_peak_bytes"] == {other.name: other.peak for other in four.alternatives}
    assert f"{forward.name}: {forward.operations:g} operations" in str(four)
    assert f"peak {forward.peak} B" in str(four)


def test_the_plan_prints_its_steps_and_the_alternatives():
    network = mlp((5, 4, 3))
    plan = nj.explain(network, np.ones((2, 5), np.float32))
    text = str(plan)
    for word in (
        "step",
        "form",
        "operations",
        "bytes",
        "peak",
        "plain reverse",
        "plain forward",
        "product",
        "∂output/∂x",
    ):
        assert word in text
    data = plan.to_dict()
    assert data["operations"] == plan.operations
    assert data["steps"][-1]["form"] == plan.working_steps[-1].form
    assert "<table>" in plan._repr_html_()
    assert plan == nj.explain(network, np.ones((2, 5), np.float32))


def cost(links, bracket):
    """Operations of a bracket, by the formula."""
    low, high = bracket.low, bracket.high
    if bracket.form == "leaf":
        return 0 if links[low].ready else links[low].sweep * min(links[low].outputs, links[low].inputs)
    k, total = bracket.split, 0
    if bracket.upper:
        total += cost(links, bracket.upper)
    if bracket.lower:
        total += cost(links, bracket.lower)
    if bracket.form == "product":
        return total + 2 * links[high].outputs * links[k].inputs * links[low].inputs
    if bracket.form == "pull":
        return total + links[high].outputs * sum(link.sweep for link in links[low:k])
    return total + links[low].inputs * sum(link.sweep for link in links[k : high + 1])


def cheapest(links, low, high):
    """By trying every bracketing."""
    if low == high:
        return 0 if links[low].ready else links[low].sweep * min(links[low].outputs, links[low].inputs)
    found = []
    for k in range(low + 1, high + 1):
        upper, lower = cheapest(links, k, high), cheapest(links, low, k - 1)
        found.append(upper + lower + 2 * links[high].outputs * links[k].inputs * links[low].inputs)
        found.append(upper + links[high].outputs * sum(link.sweep for link in links[low:k]))
        found.append(lower + links[low].inputs * sum(link.sweep for link in links[k : high + 1]))
    return min(found)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.data())
def test_no_bracketing_is_cheaper(widths, data):
    links = [
        Link(b, a, data.draw(st.integers(1, 500)), data.draw(st.booleans())) for a, b in itertools.pairwise(widths)
    ]
    assert cost(links, best_bracket(links)) == cheapest(links, 0, len(links) - 1)


def test_forced_orders_are_kept():
    network, x = mlp((6, 5, 4)), np.ones((2, 6), np.float32)
    assert nj.explain(network, x, engine="forward").order == "forward"
    assert nj.explain(network, x, engine="reverse").order == "reverse"
    assert nj.explain(network, x, engine="structured") == nj.explain(network, x)


@pytest.mark.parametrize(("size", "pulled"), [(8, True), (2, False)])
def test_a_wide_convolution_is_pulled_and_one_shorter_than_its_kernel_multiplied(size, pulled):
    """XLA's code for the first is as fast as a product and writes a ninth of it; for the second a hundred times slower."""
    kernel, last = (jnp.asarray(RNG.standard_normal(s), jnp.float32) for s in ((3, 3, 128, 128), (128, 10)))

    def f(x):
        z = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.tanh(z).mean((1, 2)) @ last

    plan = nj.explain(nj.network(f, batched=True), np.ones((8, size, size, 128), np.float32))
    assert ("pull conv_general_dilated" in {step.form for step in plan.steps}) == pulled
