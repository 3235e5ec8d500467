"""The algebra of structured factors has the laws of matrices."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netjac.factors.addition import add
from netjac.factors.pattern import Pattern, atoms, dense, diagonal, identity, labels_of, proper, renumbered
from netjac.factors.product import multiply, straddling
from netjac.factors.refine import common_atoms, densify, split, untie, whole
from netjac.precision import precise

SHAPES = [(2, 3), (6,), (3, 2), (1, 6), (2, 1, 3), (4,), (2, 2)]


@st.composite
def patterns(draw, out_shape, in_shape):
    """A pattern between two shapes: atoms of equal size may be tied, and any label may lack data."""
    first = atoms(out_shape, 0)
    sizes = list(proper(out_shape))
    free = list(labels_of(first))
    axes = []
    for size in in_shape:
        twins = [n for n in free if sizes[n] == size]
        if size == 1:
            axes.append(())
        elif twins and draw(st.booleans()):
            axes.append((twins[0],))
            free.remove(twins[0])
        else:
            axes.append((len(sizes),))
            sizes.append(size)
    labels = range(len(sizes))
    data = draw(st.permutations([n for n in labels if draw(st.booleans())]))
    return renumbered(Pattern(first, tuple(axes), tuple(data), tuple(sizes)))


def numbers(pattern, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(pattern.data_shape)) if pattern.data else None


def full(pattern, data):
    array = np.asarray(densify(pattern, data, jnp.float64))
    return array.reshape(int(np.prod(pattern.out_shape)), int(np.prod(pattern.in_shape)))


def product(a, x, b, y, last="in"):
    plan = multiply(a, b, last)
    return plan.pattern, plan.apply(x, y, jnp.float64), plan


@given(
    st.data(), st.sampled_from(SHAPES), st.sampled_from(SHAPES), st.sampled_from(SHAPES), st.sampled_from(["in", "out"])
)
def test_the_product_is_the_matrix_product(data, u, v, w, last):
    a, b = data.draw(patterns(u, v)), data.draw(patterns(v, w))
    with precise(True):
        x, y = numbers(a, 1), numbers(b, 2)
        pattern, z, plan = product(a, x, b, y, last)
        np.testing.assert_allclose(full(pattern, z), full(a, x) @ full(b, y), atol=1e-12)
        assert (z is None and not pattern.data) or tuple(z.shape) == pattern.data_shape
        assert plan.operations >= 0


@given(st.data(), *[st.sampled_from(SHAPES)] * 4)
def test_products_associate(data, u, v, w, t):
    a, b, c = data.draw(patterns(u, v)), data.draw(patterns(v, w)), data.draw(patterns(w, t))
    with precise(True):
        x, y, z = numbers(a, 1), numbers(b, 2), numbers(c, 3)
        ab, p, _ = product(a, x, b, y)
        bc, q, _ = product(b, y, c, z)
        left, l, _ = product(ab, p, c, z)  # noqa: E741
        right, r, _ = product(a, x, bc, q)
        np.testing.assert_allclose(full(left, l), full(right, r), atol=1e-11)


@given(st.data(), *[st.sampled_from(SHAPES)] * 2)
def test_the_transpose_of_a_product_is_the_product_of_transposes(data, u, w):
    v = data.draw(st.sampled_from(SHAPES))
    a, b = data.draw(patterns(u, v)), data.draw(patterns(v, w))
    with precise(True):
        x, y = numbers(a, 1), numbers(b, 2)
        ab, p, _ = product(a, x, b, y)
        ba, q, _ = product(b.transposed(), y, a.transposed(), x)
        np.testing.assert_allclose(full(ab.transposed(), p), full(ba, q), atol=1e-12)


@given(st.data(), *[st.sampled_from(SHAPES)] * 3)
def test_products_distribute_over_sums(data, u, v, w):
    a, b, c = data.draw(patterns(u, v)), data.draw(patterns(u, v)), data.draw(patterns(v, w))
    with precise(True):
        x, y, z = (n if n is not None else jnp.ones(()) for n in (numbers(a, 1), numbers(b, 2), numbers(c, 3)))
        plan = add(a, b)
        if plan is None:
            assert full(untied := a, x).shape == full(b, y).shape
            assert untied.tied != b.tied or a.out != b.out or a.inn != b.inn
            return
        total = plan.apply(x, y)
        np.testing.assert_allclose(full(plan.pattern, total), full(a, x) + full(b, y), atol=1e-12)
        left, l, _ = product(renumbered(plan.pattern), total, c, z)  # noqa: E741
        np.testing.assert_allclose(full(left, l), (full(a, x) + full(b, y)) @ full(c, z), atol=1e-11)


@given(st.data(), *[st.sampled_from(SHAPES)] * 2)
def test_untying_and_making_whole_change_the_form_alone(data, u, v):
    a = data.draw(patterns(u, v))
    with precise(True):
        x = numbers(a, 1)
        step = untie(a, tuple(sorted(a.tied)))
        y = step.apply(x, jnp.float64) if a.tied else x
        assert not step.pattern.tied
        np.testing.assert_allclose(full(step.pattern, y), full(a, x), atol=1e-14)


def test_splitting_an_axis_changes_nothing_and_whole_puts_it_back():
    a = dense((6,), (4,))
    with precise(True):
        x = numbers(a, 1)
        step, _ = split(a, {0: (2, 3), 1: (2, 2)})
        y = step.apply(x)
        assert y.shape == (2, 3, 2, 2)
        np.testing.assert_array_equal(full(step.pattern, y), full(a, x))
        back = whole(step.pattern, "out", 0)
        np.testing.assert_array_equal(full(renumbered(back.pattern), back.apply(y)), full(a, x))


def test_atoms_that_straddle_have_no_refinement():
    assert common_atoms([4, 3], [6, 2]) is None
    assert common_atoms([2, 6], [4, 3]) == (2, 2, 3)
    a = Pattern(((0,), (1,)), ((0, 1),), (), (4, 3))
    b = Pattern(((0, 1),), ((0,), (1,)), (), (6, 2))
    assert straddling(a, b) == [0]


def test_an_identity_multiplies_for_free():
    plan = multiply(identity((5,)), dense((5,), (7,)))
    assert plan.form == "relabel"
    assert plan.operations == 0
    scaled = multiply(diagonal((5,)), dense((5,), (7,)))
    assert (scaled.form, scaled.operations) == ("scale", 35)
    full_product = multiply(dense((3,), (5,)), dense((5,), (7,)))
    assert (full_product.form, full_product.operations) == ("product", 2 * 3 * 5 * 7)
