import jax.numpy as jnp
import numpy as np

import netjac as nj
from netjac.report.words import describe_html


def layered(x):
    return jnp.tanh(nj.mark(x @ jnp.ones((3, 2)), "<b>hidden</b>"))


def lazy(batch=4):
    return nj.jacobian(nj.network(layered, batched=True), np.linspace(-1, 1, batch * 3).reshape(batch, 3))


def test_the_repr_says_shape_and_structure_and_computes_nothing():
    J = lazy()
    told = repr(J)
    assert "(4, 2, 3): 4 samples, out (2), in (3)" in told
    assert "∂output/∂x of 'layered'" in told
    assert "float64" in told
    assert "independent" in told
    assert "not computed yet" in told
    assert J._dense is None


def test_once_computed_the_repr_gives_the_range_of_norms_and_a_corner():
    J = lazy()
    norms = J.norm()
    told = repr(J)
    assert f"Frobenius norm {norms.min():.4g} to {norms.max():.4g}" in told
    assert "all finite" in told
    assert f"{np.asarray(J)[0, 0, 0]:.3g}" in told


def test_numbers_that_are_not_finite_are_counted():
    J = lazy()
    J._dense = jnp.full(J.shape, 1.0).at[0, 0, 0].set(jnp.nan)
    assert "1 of 24 entries are not finite" in repr(J)


def test_layer_names_are_escaped_in_html():
    J = nj.jacobian(nj.network(layered, batched=True), np.ones((2, 3)), of="<b>hidden</b>")
    told = describe_html(J)
    assert "&lt;b&gt;hidden" in told
    assert "<b>" not in told
    assert J._dense is None


def test_a_long_matrix_shows_only_its_corner():
    J = nj.jacobian(jnp.sin, np.ones(30))
    np.asarray(J)
    assert max(map(len, repr(J).splitlines())) < 120
    assert "…" in repr(J)


def test_an_empty_jacobian_reads_well_too():
    J = nj.jacobian(lambda x: x * 2, np.ones((0,)))
    assert J.to_jax().size == 0
    assert "there are none" in repr(J)
