"""Over the networks that the suite makes up: the formula's numbers are those of the Jacobian, and of parameters too."""

from __future__ import annotations

import jax
import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import netjac as nj
from tests.formula.checks import batched, equal
from tests.jax_networks import random_network
from tests.test_random_networks import CHANNELS, STRUCTURES, TOKENS, Counting, Maker

SHAPES = st.sampled_from([(3,), (5,), (3, 4), (4, 1), (4, 5, 2), (6, 6, 1)])
FEW = settings(max_examples=8, phases=(Phase.explicit, Phase.generate))
"""Not shrunk: each smaller network would be compiled anew."""


class Recorded(Maker):
    """Makes layers of weights that it is given, in the order in which a Maker makes them up."""

    def __init__(self, given):
        self.given = iter(given)

    def weight(self, *_shape):
        return next(self.given)


@jax.tree_util.register_pytree_node_class
class WithParameters:
    """A made-up network whose weights are parameters."""

    def __init__(self, structure, weights):
        self.structure, self.weights = structure, weights

    def __call__(self, x):
        return self.structure.on(Recorded(self.weights))(x)

    def tree_flatten(self):
        return self.weights, self.structure

    @classmethod
    def tree_unflatten(cls, structure, weights):
        return cls(structure, weights)


@FEW
@given(STRUCTURES)
def test_layers_in_chains_residuals_and_branches(structure):
    model = batched(structure.on(Maker(1)))
    x = np.random.default_rng(2).standard_normal((structure.batch, TOKENS, CHANNELS))
    equal(nj.formula(model, x), model, x)


@FEW
@given(st.integers(0, 10**6), SHAPES, st.integers(1, 4))
def test_random_blocks_on_vectors_tokens_and_images(seed, shape, length):
    f, _ = random_network(seed, shape, length)
    model = batched(lambda x: f(x))
    x = np.random.default_rng(seed).standard_normal((2, *shape))
    equal(nj.formula(model, x), model, x)


@settings(FEW, max_examples=4)
@given(STRUCTURES)
def test_by_parameters(structure):
    recorder = Counting(1)
    structure.on(recorder)
    model = batched(WithParameters(structure, recorder.made))
    x = np.random.default_rng(2).standard_normal((2, TOKENS, CHANNELS))
    found, J = nj.formula(model, x, wrt="parameters"), nj.jacobian(model, x, wrt="parameters")
    assert found.keys() == J.keys()
    assert len(found) == len(recorder.made)
    for name, F in found.items():
        expected = np.asarray(J[name])
        np.testing.assert_allclose(F.evaluate(x), expected, atol=1e-11 * max(np.abs(expected).max(), 1))
