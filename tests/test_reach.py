"""Masks: what causal and local attention leave of a Jacobian is known before its entries are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import netjac as nj
from netjac.compiled import counts
from netjac.graph.program import trace
from netjac.reach import reach_of
from tests.oracles import jacrev, relative_error

WIDTH, HEADS = 4, 2
FULL = {
    "causal": lambda t, s: s <= t,
    "local": lambda t, s: abs(t - s) <= 1,
    "behind": lambda t, s: (s <= t) & (s > t - 2),
}


def mask_of(kind, tokens):
    return FULL[kind](*np.indices((tokens, tokens)))


def attention(mask, fill=-1e9, layers=1, seed=0):
    """Blocks of attention and a token-wise layer on x (tokens, WIDTH)."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((layers, 5, WIDTH, WIDTH)) / 2

    def f(x):
        for q, k, v, o, w in weights:
            split = [(x @ m).reshape(len(x), HEADS, -1) for m in (q, k, v)]
            scores = jnp.where(mask, jnp.einsum("thd,shd->hts", *split[:2]), fill)
            read = jnp.einsum("hts,shd->thd", jax.nn.softmax(scores, -1), split[2]).reshape(x.shape)
            x = jnp.tanh((x + read @ o) @ w)
        return x

    return f


def reach_at(f, x, axis=0):
    with jax.enable_x64(True):
        program, _ = trace(f, jax.ShapeDtypeStruct(x.shape, x.dtype))
        needed = program.needed(program.outputs)
        values = program.evaluate([jnp.asarray(x)], list(program.constants.values()), needed)
        return reach_of(program, values, program.inputs[0], program.outputs[0], axis)


@settings(max_examples=12)
@given(
    st.sampled_from(sorted(FULL)),
    st.integers(2, 7),
    st.integers(1, 2),
    st.sampled_from([-1e9, -np.inf]),
    st.integers(0, 9),
)
def test_what_masks_leave_is_what_there_is(kind, tokens, layers, fill, seed):
    f = attention(mask_of(kind, tokens), fill, layers, seed)
    x = np.random.default_rng(seed).standard_normal((tokens, WIDTH))
    J = jacrev(f, x).reshape(x.size, -1)
    reach = reach_at(f, x)
    pattern = reach.pattern().toarray()
    assert pattern.sum() == reach.entries
    assert not J[~pattern].any()
    assert np.count_nonzero(J) == reach.entries  # intervals are exact for masks that are intervals themselves


@given(st.integers(2, 6), st.integers(0, 200))
@settings(max_examples=12)
def test_any_mask_leaves_no_entry_out(tokens, seed):
    mask = np.random.default_rng(seed).random((tokens, tokens)) < 0.5
    f = attention(mask, -1e9, 2, seed)
    x = np.random.default_rng(seed + 1).standard_normal((tokens, WIDTH))
    assert not jacrev(f, x).reshape(x.size, -1)[~reach_at(f, x).pattern().toarray()].any()


def test_a_causal_transformer_says_so():
    x = np.random.default_rng(0).standard_normal((3, 6, WIDTH))
    network = nj.network(jax.vmap(attention(mask_of("causal", 6), layers=2)), batched=True)
    J = nj.jacobian(network, x)
    assert J.structure.kind == "causal"
    assert J.structure.per_sample
    assert J.structure.entries == WIDTH * WIDTH * 6 * 7 // 2
    assert J[1].to_scipy().nnz == J.structure.entries


def test_a_mask_that_hides_nothing_is_no_mask():
    x = np.random.default_rng(0).standard_normal((5, WIDTH))
    network = nj.network(attention(mask_of("causal", 5), fill=-1.0))
    assert nj.jacobian(network, x).structure.kind == "dense"


def test_a_choice_that_depends_on_the_input_is_no_mask():
    W = np.random.default_rng(0).standard_normal((4, 4))
    network = nj.network(lambda x: W @ jnp.where(x > 0, W @ x, 0.0))
    structure = nj.jacobian(network, np.array([1.0, -1.0, 2.0, -2.0])).structure
    assert (structure.kind, structure.entries) == ("dense", 16)


def test_local_attentions_sparse_jacobian_takes_few_products():
    tokens = 40
    f = attention(mask_of("local", tokens))
    x = np.random.default_rng(0).standard_normal((tokens, WIDTH))
    J = nj.jacobian(nj.network(f), x)
    assert J.structure.kind == "sparse"
    found = J.to_scipy()
    assert found.nnz == J.structure.entries == WIDTH * WIDTH * (3 * tokens - 2)
    assert relative_error(found.toarray(), jacrev(f, x).reshape(x.size, -1)) < 1e-13
    colouring = next(v for k, v in J._source.asked.point.traced.known.items() if k[0] == "colouring")[1]
    assert colouring.count == 3 * WIDTH
    before = dict(counts)
    nj.jacobian(nj.network(f), x + 1).to_scipy()
    assert counts["plans"] == before["plans"]


def test_a_mask_may_be_an_input():
    def f(inputs):
        return attention(inputs["mask"] > 0)(inputs["x"])

    x = np.random.default_rng(0).standard_normal((9, WIDTH))
    network = nj.network(f)
    for kind in ("behind", "local", "causal"):
        mask = mask_of(kind, 9).astype(float)
        J = nj.jacobian(network, {"x": x, "mask": mask}, wrt="x")
        assert J.structure.entries == WIDTH * WIDTH * mask.sum()
        assert J.structure.kind == ("sparse" if kind == "local" else "causal")
        assert relative_error(J.to_scipy().toarray(), jacrev(attention(mask > 0), x).reshape(x.size, -1)) < 1e-13


class Causal(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.into = torch.nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.into(x).unflatten(-1, (2, 12)).transpose(1, 2).split(4, -1)
        read = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return read.transpose(1, 2).flatten(-2)


def test_torchs_causal_attention_is_seen_through():
    torch.manual_seed(0)
    J = nj.jacobian(Causal().double(), torch.randn(2, 5, 8, dtype=torch.float64))
    assert J.structure.kind == "causal"
    assert J.structure.entries == 8 * 8 * 15
    assert not np.asarray(J)[:, 0, :, 1:].any()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mask_of_padding_leaves_no_entry_out(axis):
    """Keys that are padding are read by nobody: columns without entries."""
    keep = np.array([True, True, False, True])
    mask = keep[None, :] if axis else keep[:, None]
    f = attention(np.broadcast_to(mask, (4, 4)))
    x = np.random.default_rng(0).standard_normal((4, WIDTH))
    assert not jacrev(f, x).reshape(x.size, -1)[~reach_at(f, x).pattern().toarray()].any()


def test_masks_beside_a_relu_are_followed_in_float64_with_x64_off():
    f = attention(mask_of("causal", 4))
    x = np.random.default_rng(0).standard_normal((4, WIDTH))
    structure = nj.jacobian(nj.network(lambda x: jax.nn.relu(f(jax.nn.relu(x)))), x).structure
    assert structure.kind == "causal"


def test_what_a_mask_filled_is_followed_into_each_result_by_itself():
    """An eigendecomposition's values have another shape than its vectors."""
    mask = mask_of("causal", 4)

    def f(x):
        masked = jnp.where(mask, x @ x.T, 0.0)
        return jnp.linalg.eigh(masked + masked.T)[0]

    x = np.random.default_rng(0).standard_normal((4, WIDTH))
    J = nj.jacobian(f, x)
    assert J.structure.kind == "dense"
    assert relative_error(J, jacrev(f, x)) < 1e-12
