"""The algebra's laws: whatever the structure, products, sums and rewritings are those of the dense matrices."""

from __future__ import annotations

from itertools import permutations
from math import prod

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netjac.factors.addition import add
from netjac.factors.pattern import Pattern, dense, diagonal, identity, labels_of, renumbered
from netjac.factors.product import multiply, straddling
from netjac.factors.refine import common_atoms, densify, parts, split, untie, whole
from netjac.precision import precise
from tests.oracles import relative_error

TIGHT = 1e-14


@st.composite
def partitions(draw, size):
    """Atoms (major first) whose sizes multiply to `size`; none for a size of 1."""
    atoms, rest = [], size
    while rest > 1:
        divisors = [d for d in range(2, rest + 1) if rest % d == 0]
        atoms.append(draw(st.sampled_from(divisors)))
        rest //= atoms[-1]
    return draw(st.permutations(atoms))


shapes = st.lists(st.sampled_from([1, 2, 3, 4, 6]), max_size=3).map(tuple).filter(lambda s: prod(s) <= 24)


@st.composite
def patterns(draw, out_shape, in_shape):
    """A random pattern: some atoms tied across the sides, some without numbers, numbers in any order."""
    sizes, out, inn = [], [], []
    for shape, axes in ((out_shape, out), (in_shape, inn)):
        for size in shape:
            pieces = draw(partitions(size))
            axes.append(list(range(len(sizes), len(sizes) + len(pieces))))
            sizes.extend(pieces)
    free = [n for axis in out for n in axis]
    for axis in inn:
        for place, label in enumerate(axis):
            fitting = [n for n in free if sizes[n] == sizes[label]]
            if fitting and draw(st.booleans()):
                axis[place] = draw(st.sampled_from(fitting))
                free.remove(axis[place])
    out, inn = (tuple(map(tuple, axes)) for axes in (out, inn))
    labels = list(dict.fromkeys(labels_of(out) + labels_of(inn)))
    data = [n for n in draw(st.permutations(labels)) if draw(st.booleans())]
    return renumbered(Pattern(out, inn, tuple(data), tuple(sizes)))


def numbers(pattern, seed):
    """Random data for a pattern; none where it has no labels, as the engine does for relabellings."""
    return np.random.default_rng(seed).standard_normal(pattern.data_shape) if pattern.data else None


def matrix(pattern, data):
    """The dense Jacobian by the definition: a product of Kronecker deltas and the numbers, entry by entry."""
    full = np.zeros((*pattern.out_shape, *pattern.in_shape))
    for index in np.ndindex(*pattern.sizes):
        place = []
        for axis in (*pattern.out, *pattern.inn):
            at = 0
            for label in axis:
                at = at * pattern.sizes[label] + index[label]
            place.append(at)
        full[tuple(place)] = 1.0 if data is None else data[tuple(index[n] for n in pattern.data)]
    return full.reshape(prod(pattern.out_shape), prod(pattern.in_shape))


def written(pattern, data):
    """The same by `densify`."""
    with precise(True):
        array = densify(pattern, None if data is None else jnp.asarray(data), jnp.float64)
    return np.asarray(array).reshape(prod(pattern.out_shape), prod(pattern.in_shape))


def met(a, x, b, y):
    """Both factors with straddling atoms of the value between them written out, as a plan does."""
    with precise(True):
        for axis in straddling(a, b):
            for side, place in (("inn", 0), ("out", 1)):
                pattern, data = ((a, x), (b, y))[place]
                tied = tuple(n for n in getattr(pattern, side)[axis] if n in pattern.tied)
                if tied:
                    step = untie(pattern, tied)
                    pattern, data = step.pattern, step.apply(data, jnp.float64)
                joined = whole(pattern, side, axis)
                changed = joined.pattern, joined.apply(data)
                (a, x), (b, y) = (changed, (b, y)) if place == 0 else ((a, x), changed)
    return a, x, b, y


def times(a, x, b, y, last="in"):
    """The product's pattern and numbers."""
    a, x, b, y = met(a, x, b, y)
    with precise(True):
        plan = multiply(a, b, last)
        data = plan.apply(*(None if d is None else jnp.asarray(d) for d in (x, y)), jnp.float64)
    return plan.pattern, None if data is None else np.asarray(data)


@given(st.data(), shapes, shapes)
def test_densify_writes_out_what_a_pattern_means(data, out, inn):
    pattern = data.draw(patterns(out, inn))
    x = numbers(pattern, 0)
    np.testing.assert_array_equal(written(pattern, x), matrix(pattern, x))


@settings(max_examples=60)
@given(st.data(), shapes, shapes, shapes, st.sampled_from(["in", "out"]))
def test_the_product_of_factors_is_the_product_of_their_matrices(data, out, middle, inn, last):
    a, b = data.draw(patterns(out, middle)), data.draw(patterns(middle, inn))
    x, y = numbers(a, 1), numbers(b, 2)
    pattern, product = times(a, x, b, y, last)
    assert pattern.out_shape == out
    assert pattern.in_shape == inn
    assert relative_error(matrix(pattern, product), matrix(a, x) @ matrix(b, y)) < TIGHT


@settings(max_examples=40)
@given(st.data(), shapes, shapes, shapes, shapes)
def test_products_are_associative(data, out, upper, lower, inn):
    a, b, c = (data.draw(patterns(*pair)) for pair in ((out, upper), (upper, lower), (lower, inn)))
    x, y, z = numbers(a, 1), numbers(b, 2), numbers(c, 3)
    left = times(*times(a, x, b, y), c, z)
    right = times(a, x, *times(b, y, c, z))
    assert relative_error(matrix(*left), matrix(*right)) < 4 * TIGHT


@settings(max_examples=30)
@given(st.data(), shapes, shapes, shapes)
def test_the_transpose_of_a_product_is_the_product_of_the_transposes_reversed(data, out, middle, inn):
    a, b = data.draw(patterns(out, middle)), data.draw(patterns(middle, inn))
    x, y = numbers(a, 1), numbers(b, 2)
    turned = times(b.transposed(), y, a.transposed(), x)
    assert relative_error(matrix(*turned), matrix(*times(a, x, b, y)).T) < TIGHT
    np.testing.assert_array_equal(matrix(a.transposed(), x), matrix(a, x).T)


@given(st.data(), shapes, shapes)
def test_the_identity_changes_nothing(data, out, inn):
    a = data.draw(patterns(out, inn))
    x = numbers(a, 1)
    for pattern, product in (times(identity(out), None, a, x), times(a, x, identity(inn), None)):
        np.testing.assert_array_equal(matrix(pattern, product), matrix(a, x))


@st.composite
def same_ties(draw, out_shape, in_shape):
    """Two patterns that differ only in where they have numbers."""
    a = draw(patterns(out_shape, in_shape))
    chosen = [n for n in draw(st.permutations(range(len(a.sizes)))) if draw(st.booleans())]
    return a, Pattern(a.out, a.inn, tuple(chosen), a.sizes)


def plus(a, x, b, y):
    with precise(True):
        plan = add(a, b)
        assert plan is not None
        data = plan.apply(*(jnp.ones(()) if d is None else jnp.asarray(d) for d in (x, y)))
    return plan.pattern, np.asarray(data)


@settings(max_examples=60)
@given(st.data(), shapes, shapes)
def test_factors_of_the_same_ties_add_number_by_number(data, out, inn):
    a, b = data.draw(same_ties(out, inn))
    x, y = numbers(a, 1), numbers(b, 2)
    total = plus(a, x, b, y)
    assert relative_error(matrix(*total), matrix(a, x) + matrix(b, y)) < TIGHT
    assert add(a, b).operations == total[0].entries


@settings(max_examples=60)
@given(st.data(), shapes, shapes)
def test_any_two_factors_add_rightly_or_are_said_not_to(data, out, inn):
    a, b = data.draw(patterns(out, inn)), data.draw(patterns(out, inn))
    plan = add(a, b)
    if plan is None:
        assert matrix(a, None).astype(bool).tolist() != matrix(b, None).astype(bool).tolist() or _straddle(a, b)
        return
    x, y = numbers(a, 1), numbers(b, 2)
    assert relative_error(matrix(*plus(a, x, b, y)), matrix(a, x) + matrix(b, y)) < TIGHT


def _straddle(a, b):
    pairs = (*zip(a.out, b.out, strict=True), *zip(a.inn, b.inn, strict=True))
    sizes = [([a.sizes[n] for n in ours], [b.sizes[n] for n in theirs]) for ours, theirs in pairs]
    return any(common_atoms(*pair) != tuple(pair[0]) or common_atoms(*pair) != tuple(pair[1]) for pair in sizes)


@settings(max_examples=30)
@given(st.data(), shapes, shapes, shapes)
def test_products_distribute_over_sums(data, out, middle, inn):
    a, b = data.draw(same_ties(out, middle))
    c = data.draw(patterns(middle, inn))
    x, y, z = numbers(a, 1), numbers(b, 2), numbers(c, 3)
    left = matrix(*times(*plus(a, x, b, y), c, z))
    right = matrix(*times(a, x, c, z)) + matrix(*times(b, y, c, z))
    assert np.linalg.norm(left - right) <= 4 * TIGHT * (1 + np.linalg.norm(matrix(a, x)) * np.linalg.norm(matrix(c, z)))


@settings(max_examples=40)
@given(st.data(), shapes, shapes)
def test_untying_splitting_and_joining_leave_the_matrix_as_it_is(data, out, inn):
    a = data.draw(patterns(out, inn))
    x, expected = numbers(a, 1), matrix(a, numbers(a, 1))
    with precise(True):
        loose = untie(a, tuple(n for n in sorted(a.tied) if data.draw(st.booleans())))
        y = loose.apply(None if x is None else jnp.asarray(x), jnp.float64)
        np.testing.assert_array_equal(matrix(loose.pattern, np.asarray(y)), expected)
        free = untie(a, tuple(sorted(a.tied)))
        y = free.apply(None if x is None else jnp.asarray(x), jnp.float64)
        assert not free.pattern.tied
        for side, axes in (("out", a.out), ("inn", a.inn)):
            for axis in range(len(axes)):
                joined = whole(free.pattern, side, axis)
                np.testing.assert_array_equal(matrix(joined.pattern, np.asarray(joined.apply(y))), expected)
        if x is not None:
            cuts = {n: tuple(data.draw(partitions(size))) for n, size in enumerate(a.sizes)}
            cut, _ = split(a, cuts)
            np.testing.assert_array_equal(matrix(cut.pattern, np.asarray(cut.apply(jnp.asarray(x)))), expected)


@given(st.data(), shapes, shapes)
def test_renumbering_is_idempotent_and_keeps_the_matrix(data, out, inn):
    a = data.draw(patterns(out, inn))
    swapped = list(range(len(a.sizes)))[::-1]
    move = lambda axes: tuple(tuple(swapped[n] for n in axis) for axis in axes)  # noqa: E731
    other = Pattern(move(a.out), move(a.inn), tuple(swapped[n] for n in a.data), a.sizes[::-1])
    x = numbers(a, 1)
    np.testing.assert_array_equal(matrix(other, x), matrix(a, x))
    assert renumbered(other) == renumbered(renumbered(other)) == a


def test_a_product_is_a_scaling_a_relabelling_or_one_matrix_product():
    W, V, scale = dense((3,), (4,)), dense((4,), (5,)), diagonal((4,))
    cases = [
        (W, V, "product", 2 * 3 * 4 * 5),
        (W, scale, "scale", 12),
        (scale, V, "scale", 20),
        (scale, scale, "scale", 4),
        (W, identity((4,)), "relabel", 0),
        (Pattern(((),), ((0,),), (), (4,)), V, "sum", 20),
    ]
    for left, right, form, operations in cases:
        plan = multiply(left, right)
        assert (plan.form, plan.operations) == (form, operations)


def test_a_product_with_ties_along_samples_costs_a_product_a_sample():
    layer = Pattern(((0,), (1,)), ((0,), (2,)), (2, 1), (8, 3, 4))
    block = Pattern(((0,), (1,)), ((0,), (2,)), (0, 1, 2), (8, 5, 3))
    assert multiply(block, layer).operations == 2 * 8 * 5 * 3 * 4
    assert multiply(layer.transposed(), layer).operations == 2 * 4 * 3 * 4


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [((6,), (2, 3), (2, 3)), ((2, 6), (4, 3), (2, 2, 3)), ((4, 3), (6, 2), None), ((), (), ()), ((12,), (12,), (12,))],
)
def test_common_atoms_refine_both_lists_or_are_none(left, right, expected):
    assert common_atoms(left, right) == expected
    if expected:
        assert [prod(p) for p in parts(left, expected)] == list(left)


@given(st.data(), st.sampled_from([4, 6, 8, 12]))
def test_common_atoms_are_symmetric_and_coarsest(data, size):
    left, right = data.draw(partitions(size)), data.draw(partitions(size))
    found = common_atoms(left, right)
    assert found == common_atoms(right, left)
    assume(found is not None)
    bounds = lambda sizes: {prod(sizes[i:]) for i in range(len(sizes) + 1)}  # noqa: E731
    assert bounds(found) == bounds(left) | bounds(right)


def test_patterns_say_what_they_are():
    layer = Pattern(((0,), (1,)), ((0,), (2,)), (2, 1), (8, 3, 4))
    assert str(layer) == "(a=8°, 3) × (a=8°, 4)"
    assert (layer.entries, layer.is_diagonal, layer.tied) == (12, False, frozenset({0}))
    assert diagonal((1, 5)).is_diagonal
    assert all(identity(shape).entries == 1 for shape in permutations((1, 2, 3)))
