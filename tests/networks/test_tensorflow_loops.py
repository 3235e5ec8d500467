"""Loops with a trip count that is known become scans."""

import jax
import jax.numpy as jnp
import numpy as np

from netjac.networks.tensorflow_loops import loop


def primitives(function, *arguments):
    return {equation.primitive.name for equation in jax.make_jaxpr(function)(*arguments).jaxpr.eqns}


def powers(x, scale):
    """x·scale^5, by a loop with a counter; `scale` is traced outside the loop."""
    values = (np.int32(0), jnp.asarray(x))
    return loop(lambda i, y: i < 5, lambda i, y: (i + 1, y * scale), values)[1]


def test_a_counted_loop_is_a_scan_and_differentiates_in_reverse():
    assert "while" not in primitives(powers, 1.0, 2.0)
    assert jax.grad(powers)(3.0, 2.0) == 32
    assert jax.grad(powers, argnums=1)(3.0, 2.0) == 3 * 5 * 16


def test_counters_may_go_through_other_counters():
    def function(x):
        values = (np.int32(0), np.int32(1), x)
        return loop(lambda i, j, y: j < 20, lambda i, j, y: (i + 1, j + i, y + 1.0), values)[2]

    assert "while" not in primitives(function, 0.0)
    assert jax.jit(function)(0.0) == 7


def test_a_loop_that_looks_at_its_data_stays_a_while_loop():
    def function(x):
        return loop(lambda i, y: y < 100.0, lambda i, y: (i + 1, y * 2.0), (np.int32(0), x))[1]

    assert "while" in primitives(function, 3.0)
    assert jax.jit(function)(3.0) == 192
    assert jax.jvp(function, (3.0,), (1.0,))[1] == 64


def test_a_loop_whose_end_is_traced_stays_a_while_loop():
    def function(x, end):
        return loop(lambda i, y: i < end, lambda i, y: (i + 1, y * 2.0), (np.int32(0), x))[1]

    assert "while" in primitives(function, 3.0, 4)
    assert jax.jit(function)(3.0, 4) == 48


def test_a_list_that_starts_empty_takes_the_shape_of_its_items():
    def function(x):
        def step(i, items):
            whole = jnp.zeros((3, 2)) if items.size == 0 else items
            return i + 1, whole.at[i].set(x * i)

        return loop(lambda i, items: i < 3, step, (np.int32(0), np.zeros((3, 0), "float32")))[1]

    assert (jax.jit(function)(jnp.array([1.0, 2.0])) == np.outer([0, 1, 2], [1, 2])).all()


def test_a_loop_that_never_runs_gives_its_start():
    assert jax.jit(lambda x: loop(lambda i, y: i < 0, lambda i, y: (i + 1, y + 1.0), (np.int32(0), x))[1])(3.0) == 3
