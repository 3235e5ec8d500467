"""Parameter matrices of networks that Hypothesis makes up, against jax.jacrev in float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import netjac as nj
from tests.oracles import relative_error
from tests.parameters.models import Model, dense
from tests.test_random_networks import CHANNELS, STRUCTURES, TOKENS, Counting, Maker


class Reading(Maker):
    """Takes the weights that it is given, in their order."""

    def __init__(self, given):
        self.given = iter(given)

    def weight(self, *shape):
        return next(self.given)


@settings(max_examples=12)
@given(STRUCTURES, st.integers(0, 99))
def test_every_answer_of_a_made_up_network_is_that_of_the_dense_matrix(structure, seed):
    maker = Counting(seed)
    structure.on(maker)
    parameters = {f"p{k:02}": weight for k, weight in enumerate(maker.made)}
    model = Model(lambda p, x: structure.on(Reading(p[name] for name in parameters))(x), parameters)
    x = maker.rng.standard_normal((structure.batch, TOKENS, CHANNELS))
    J, full = nj.parameter_matrix(nj.network(model, batched=True), x), dense(model, x)
    v, u = maker.rng.standard_normal(full.shape[1]), maker.rng.standard_normal(full.shape[0])
    for what, found, expected in (
        ("J v", J @ v, full @ v),
        ("Jᵀ u", J.T @ u, full.T @ u),
        ("gram", J.gram(), full @ full.T),
        ("norms", J.row_norms(), np.linalg.norm(full, axis=1)),
        ("diagonal", J.normal_diagonal(), np.square(full).sum(0)),
        ("entries", J.to_numpy(), full),
    ):
        assert relative_error(found, expected) < 1e-10, what
