"""Networks that gather and scatter: their Jacobians' patterns as indices, and their entries from a product a colour."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import netjac as nj
from netjac.colouring import coloured
from netjac.errors import TooLargeError
from tests.oracles import jacrev, relative_error


def graph_network(nodes, edges, width, seed=0, dtype="float64"):
    """Two rounds of messages between the nodes that an edge joins; x is (nodes, width)."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, nodes, (2, edges))
    W, V, last = (rng.standard_normal(s).astype(dtype) for s in ((width, width), (2 * width, width), (width, 2)))

    def f(x):
        h = x @ W
        for _ in range(2):
            messages = jnp.tanh(h[source] * h[target])
            h = jnp.tanh(jnp.concatenate([h, jax.ops.segment_sum(messages, target, nodes)], -1) @ V)
        return h @ last

    return f


@settings(max_examples=8)
@given(st.integers(2, 30), st.integers(0, 25), st.integers(1, 3), st.integers(0, 99))
def test_a_graph_nets_sparse_jacobian_is_its_dense_one(nodes, edges, width, seed):
    f = graph_network(nodes, edges, width, seed)
    x = np.random.default_rng(seed).standard_normal((nodes, width))
    J = nj.jacobian(nj.network(f), x)
    expected = jacrev(f, x).reshape(2 * nodes, -1)
    sparse = J.to_scipy()
    assert relative_error(sparse.toarray(), expected) < 1e-13
    assert relative_error(np.asarray(J).reshape(expected.shape), expected) < 1e-13
    if J.structure.kind == "sparse":
        assert sparse.nnz == J.structure.entries


def test_the_work_grows_with_the_colours_and_not_with_the_nodes():
    x = np.random.default_rng(0).standard_normal((400, 3))
    network = nj.network(graph_network(400, 300, 3))
    J = nj.jacobian(network, x)
    assert J.structure.kind == "sparse"
    assert J.structure.entries < 0.05 * 800 * 1200
    pattern = J.to_scipy()
    one = coloured(pattern, True, True)
    assert one.count < 100
    assert one.count >= min(np.diff(pattern.indptr).max(), np.diff(pattern.tocsc().indptr).max())


def test_samples_of_graphs_are_apart_and_each_is_sparse():
    f = graph_network(40, 30, 2)
    x = np.random.default_rng(1).standard_normal((3, 40, 2))
    J = nj.jacobian(nj.network(jax.vmap(f), batched=True), x)
    assert (J.structure.kind, J.structure.per_sample) == ("sparse", True)
    assert relative_error(J[2].to_scipy().toarray(), jacrev(f, x[2]).reshape(80, 80)) < 1e-13
    assert nj.jacobian(nj.network(jax.vmap(f), batched=True), x[:1]).structure.kind == "sparse"


def test_edges_that_are_an_input_are_read_at_every_call():
    def f(x, edges):
        return jnp.zeros_like(x).at[edges[1]].add(jnp.sin(x)[edges[0]])

    network = nj.network(f, names=("x", "edges"))
    x = np.random.default_rng(2).standard_normal(50)
    for seed in range(3):
        edges = np.random.default_rng(seed).integers(0, 50, (2, 40))
        J = nj.jacobian(network, (x, edges), wrt="x")
        assert relative_error(J.to_scipy().toarray(), jacrev(lambda x: f(x, edges), x)) < 1e-14  # noqa: B023
    kept = [place for trace in network.traces.values() for place in trace.known if place[0] == "colouring"]
    assert len(kept) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_places_beyond_what_a_narrow_dtype_counts_to_are_told_apart(dtype):
    order = np.random.default_rng(3).permutation(5000)
    x = jnp.zeros(5000, dtype)
    sparse = nj.jacobian(nj.network(lambda x: x[order] * 2), x).to_scipy()
    assert sparse.nnz == 5000
    np.testing.assert_array_equal(sparse.indices, order)


MOVED = {
    "indices out of bounds": lambda x: jnp.take(x, np.array([0, 3, 99, 5]), mode="fill") * 1.0,
    "clipped indices": lambda x: jnp.take(x, np.array([0, 3, 99, 5]), mode="clip"),
    "overwritten": lambda x: x.at[np.array([2, 4, 2])].set(jnp.sin(x[:3])),
    "added twice": lambda x: x.at[np.array([2, 4, 2])].add(jnp.sin(x[:3])),
    "a window moved": lambda x: jax.lax.dynamic_slice(x, (jnp.asarray(3),), (4,)) ** 2,
    "a window put": lambda x: jax.lax.dynamic_update_slice(x, jnp.cos(x[:3]), (jnp.asarray(5),)),
    "sorted by the input": lambda x: x[jnp.argsort(x)][:6],
    "largest, then a cumulative sum": lambda x: jnp.stack([jnp.cumsum(x[np.array([1, 0])])[1], x[jnp.argmax(x)]]),
}


@pytest.mark.parametrize("name", MOVED)
def test_whatever_moves_entries_is_followed(name):
    f = MOVED[name]
    x = np.random.default_rng(4).standard_normal(40)
    sparse = nj.jacobian(nj.network(f), x).to_scipy()
    expected = jacrev(f, x)
    assert relative_error(sparse.toarray(), expected) < 1e-14
    assert sparse.nnz <= 3 * (expected != 0).sum()


@settings(max_examples=50)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 999), st.booleans(), st.booleans())
def test_a_colouring_gives_back_every_entry(rows, columns, density, seed, pushes, pulls):
    rng = np.random.default_rng(seed)
    full = np.where(rng.random((rows, columns)) < density, rng.standard_normal((rows, columns)), 0)
    one = coloured(scipy.sparse.csr_array(full != 0), pushes or not pulls, pulls)
    seeds = one.seeds(np.dtype(float))
    products = seeds @ (full.T if one.direction == "push" else full)
    np.testing.assert_array_equal(one.entries(products).toarray(), full)
    assert one.count <= (columns if one.direction == "push" else rows)


def test_a_band_takes_as_many_colours_as_it_is_wide():
    band = scipy.sparse.diags_array([np.ones(200)] * 5, offsets=[-2, -1, 0, 1, 2], shape=(200, 200)).tocsr()
    assert coloured(band.astype(bool), True, True).count == 5


SIDE = 8
TURNS = [place for i in range(SIDE) for place in (i, SIDE + i)]


@pytest.mark.parametrize(
    ("order", "fuller"),
    [(TURNS, lambda i, second: 0 if second else 3), (list(range(2 * SIDE)), lambda i, second: 2 * (SIDE - i))],
    ids=["the fullest first", "as they come"],
)
def test_the_better_of_two_orders_is_kept(order, fuller):
    """A crown: lines of two kinds, each crossing all of the other kind but one. Kind by kind it takes 2 colours, in turns 8."""
    place = np.argsort(order)
    rows = [[place[i], place[SIDE + j]] for i in range(SIDE) for j in range(SIDE) if i != j]
    rows += [[place[i + SIDE * second]] for i in range(SIDE) for second in (0, 1) for _ in range(fuller(i, second))]
    indptr = np.cumsum([0, *map(len, rows)])
    crown = scipy.sparse.csr_array((np.ones(indptr[-1], bool), np.concatenate(rows), indptr), (len(rows), 2 * SIDE))
    assert coloured(crown, True, False).count == 2


def test_more_colours_than_fit_the_memory_are_refused():
    x = np.zeros((3000, 4))
    with pytest.raises(TooLargeError, match="memory budget"):
        nj.jacobian(nj.network(graph_network(3000, 3000, 4)), x, memory="1MiB").to_scipy()
