"""What is compiled: an answer is written once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from netjac.jacobian import _ask
from netjac.pieces import FIRST, Options


def temporary_bytes(network, x):
    """What the compiled plan holds besides its arguments and its answer."""
    asked = _ask(network, x, "input", "output", Options())[0]
    point = asked.point
    constants = list(point.traced.program.constants.values())
    compiled = asked.compiled.run.lower(point.arguments(), constants, FIRST).compile()
    return compiled.memory_analysis().temp_size_in_bytes


RNG = np.random.default_rng(0)
NARROW, WIDE = (jnp.asarray(RNG.standard_normal(s), "float32") for s in ((512, 8), (8, 512)))
KERNEL = jnp.asarray(RNG.standard_normal((3, 3, 2, 2)), "float32")
LAYOUT = ("NHWC", "HWIO", "NHWC")


def dense(x):
    return jnp.tanh(x @ NARROW) @ WIDE


def convolutional(x):
    h = jnp.tanh(lax.conv_general_dilated(x[None], KERNEL, (1, 1), "SAME", dimension_numbers=LAYOUT))
    h = dense(h.reshape(512)).reshape((1, 16, 16, 2))
    return lax.conv_general_dilated(h, KERNEL, (1, 1), "SAME", dimension_numbers=LAYOUT)[0]


@pytest.mark.parametrize(("f", "shape"), [(dense, (512,)), (convolutional, (16, 16, 2))])
@pytest.mark.parametrize("batched", [False, True])
def test_an_answer_that_lies_as_it_is_asked_for_is_not_copied(f, shape, batched):
    network = nj.network(jax.vmap(f) if batched else f, batched=batched)
    x = RNG.standard_normal((1, *shape) if batched else shape).astype("float32")
    answer = np.asarray(nj.jacobian(network, x)).nbytes
    assert temporary_bytes(network, x) < 0.5 * answer
