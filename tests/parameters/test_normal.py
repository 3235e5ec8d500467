"""JᵀHJ from factors, beside the product of J itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.parameters.factored import Question
from netjac.parameters.normal import PAIRED, _apart, divided_alike, normal
from netjac.pieces import Options, run_answers
from netjac.precision import precise
from tests.oracles import relative_error

RNG = np.random.default_rng(0)
SHAPES = {"a": (3, 5), "b": (5,), "c": (4, 5), "d": (4,), "e": (4, 6), "f": (6,)}


def deep(p, x):
    """The second layer's weights are stored by output; the last layer scales each output by itself too."""
    h = jnp.tanh(jnp.tanh(x @ p["a"] + p["b"]) @ p["c"].T + p["d"])
    return jnp.sin(h @ p["e"]) * p["f"]


@pytest.mark.parametrize("metric", ["none", "for all", "each"])
def test_blocks_of_layers_with_and_without_parts_of_their_own_are_those_of_the_product(metric):
    p, X = {name: RNG.standard_normal(shape) for name, shape in SHAPES.items()}, RNG.standard_normal((7, 3))
    H = {"none": None, "for all": RNG.standard_normal((6, 6)), "each": RNG.standard_normal((7, 6, 6))}[metric]
    H = None if H is None else H + np.swapaxes(H, -1, -2)
    network = nj.network(jax.tree_util.Partial(deep, p), batched=True)
    question = Question(network, X, "output", Options())
    compiled, uses = question.compiled()
    assert divided_alike(uses, (7, 6))
    with precise(True):
        found = normal(uses, run_answers(question.point, compiled)[1], question.sizes.each, H)
        by_name = jax.jacrev(lambda p: deep(p, jnp.asarray(X)))({n: jnp.asarray(v) for n, v in p.items()})
    J = np.concatenate([np.asarray(by_name[name]).reshape((7, 6, -1)) for name in sorted(p)], 2)
    each = np.eye(6)[None] if H is None else H.reshape((-1, 6, 6))
    assert relative_error(found, np.einsum("nip,nij,njq->pq", J, np.broadcast_to(each, (7, 6, 6)), J)) < 1e-12


@pytest.mark.parametrize("units", [(5, 4), (5, 3)], ids=["pairs", "rows"])
def test_one_outputs_blocks_are_those_of_the_product(units):
    """(N,) rows: by products of pairs where the second layer has four units or more, as it has five inputs."""
    one, two = units
    shapes = {"a": (3, one), "b": (one,), "c": (two, one), "d": (two,), "e": (two, 1), "f": (1,)}
    p, X = {name: RNG.standard_normal(shape) for name, shape in shapes.items()}, RNG.standard_normal((7, 3))
    question = Question(nj.network(jax.tree_util.Partial(deep, p), batched=True), X, "output", Options())
    compiled, uses = question.compiled()
    assert divided_alike(uses, (7,))
    assert any(map(_apart, (use.layout for use in uses))) == (two >= PAIRED)
    with precise(True):
        found = normal(uses, run_answers(question.point, compiled)[1], question.sizes.each)
        by_name = jax.jacrev(lambda p: deep(p, jnp.asarray(X)))({n: jnp.asarray(v) for n, v in p.items()})
    J = np.concatenate([np.asarray(by_name[name]).reshape((7, -1)) for name in sorted(p)], 1)
    assert relative_error(found, J.T @ J) < 1e-12
