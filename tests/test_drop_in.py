"""`jacobian_function` has the signature, layout and manners of `jax.jacobian`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj

RNG = np.random.default_rng(0)
P = {"w": RNG.standard_normal((3, 2)), "b": RNG.standard_normal(2)}
X = RNG.standard_normal((4, 3))


def tree(p, x):
    return {"a": jnp.tanh(x @ p["w"] + p["b"]).sum(0), "s": jnp.sum(x**2), "rest": (x[0], p["b"])}


def same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_an_argument_that_is_not_there_is_named():
    with pytest.raises(nj.ShapeError, match="argnums names argument 2, and 2 are given"):
        nj.jacobian_function(tree, (0, 2))(P, X)


@pytest.mark.parametrize("argnums", [0, 1, (0, 1), (1,), np.int64(-1), [np.int32(0)]])
def test_trees_of_arguments_and_outputs_are_laid_out_as_jax_lays_them_out(argnums):
    with jax.enable_x64(True):
        same(nj.jacobian_function(tree, argnums)(P, X), jax.jacobian(tree, argnums)(P, X))


def test_scalars_unused_arguments_and_aliases():
    with jax.enable_x64(True):
        same(nj.jacobian_function(jnp.sin)(0.5), jax.jacobian(jnp.sin)(0.5))
        f = lambda x, y: (x, x, 3.0 * x.sum())  # noqa: E731
        same(nj.jacobian_function(f, (0, 1))(X[0], X[1]), jax.jacobian(f, (0, 1))(X[0], X[1]))
        same(nj.jacobian_function(lambda x: x)(X), jax.jacobian(lambda x: x)(X))


def test_keyword_arguments_are_constants():
    f = lambda x, by: x * by  # noqa: E731
    np.testing.assert_array_equal(nj.jacobian_function(f)(jnp.ones(2), by=3.0), 3 * np.eye(2))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_dtype_is_the_outputs(dtype):
    f = lambda x: jnp.tanh(x) * x  # noqa: E731
    ours = nj.jacobian_function(f)(jnp.ones(3, dtype))
    assert ours.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(ours, np.float32), np.asarray(jax.jacobian(f)(jnp.ones(3)), np.float32), atol=2e-2
    )


def test_it_goes_through_jit_vmap_and_grad():
    W = jnp.asarray(P["w"])
    with jax.enable_x64(True):
        f = lambda x: jnp.tanh(x @ P["w"]) @ P["w"].T  # noqa: E731
        same(jax.jit(jax.vmap(nj.jacobian_function(f)))(X), jax.vmap(jax.jacobian(f))(X))
        penalty = lambda J: lambda x: jnp.sum(J(f)(x) ** 2)  # noqa: E731
        same(jax.grad(penalty(nj.jacobian_function))(X[0]), jax.grad(penalty(jax.jacobian))(X[0]))
    assert W.dtype == jnp.float32


def test_a_hessian_is_the_jacobian_of_a_jacobian():
    with jax.enable_x64(True):
        f = lambda x: jnp.sum(jnp.sin(x) ** 2) * x[0]  # noqa: E731
        same(nj.jacobian_function(nj.jacobian_function(f))(X[0]), jax.hessian(f)(X[0]))


def test_integers_are_refused():
    with pytest.raises(nj.NotDifferentiableError, match="argument 0"):
        nj.jacobian_function(lambda x: x * 2)(jnp.arange(3))
    with pytest.raises(nj.NotDifferentiableError, match="output 0"):
        nj.jacobian_function(jnp.argmax)(jnp.ones(3))
