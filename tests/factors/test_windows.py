"""The algebra's laws for factors with windows on either side, as a plan multiplies and adds them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from netjac.execute import Primal, Run, perform
from netjac.factors.entries import matrix as sparse_matrix
from netjac.factors.pattern import Names, Pattern
from netjac.factors.taps import joined
from netjac.factors.window import window
from netjac.graph.program import Program
from netjac.plan import windows
from netjac.plan.account import Stored
from netjac.plan.cost import RATES
from netjac.plan.eliminate import Linearised
from netjac.plan.terms import Writer
from netjac.precision import precise
from tests.oracles import entries, relative_error

TIGHT = 1e-13
extents = st.tuples(st.integers(2, 6), st.integers(1, 3))
KINDS = ("in", "out", "tied", "dense")


@st.composite
def axes(draw, names, old, new, first):
    """One axis of ∂u/∂v, of `new` by `old` entries: (out labels, in labels, hidden labels, window or None)."""
    kind = draw(st.sampled_from(KINDS if first else ("tied", "dense")))
    if kind == "tied" and old == new:
        place = names.new(old)
        return place, place, (), None
    if kind not in ("in", "out") or 1 in (old, new):
        return names.new(new), names.new(old), (), None
    taps = names.new(draw(st.sampled_from([1, 1, 2, 3])))
    free, placed = (names.new(new), names.new(old)) if kind == "in" else (names.new(old), names.new(new))
    terms = [(free[0], draw(st.sampled_from([1, 2, 3, -1])))] + [(n, draw(st.sampled_from([1, 2, -1]))) for n in taps]
    made = window(placed[0], tuple(terms), draw(st.integers(-2, 3)), names.sizes)
    return (free, placed, taps, made) if kind == "in" else (placed, free, taps, made)


@st.composite
def patterns(draw, out_shape, in_shape):
    """A pattern of a value (places, channels) by another, its numbers along any labels that no window places."""
    names = Names()
    found = [
        draw(axes(names, old, new, place == 0))
        for place, (new, old) in enumerate(zip(out_shape, in_shape, strict=True))
    ]
    placed = [axis[3] for axis in found if axis[3] is not None]
    free = [n for n in range(len(names.sizes)) if n not in {w.label for w in placed}]
    data = [n for n in draw(st.permutations(free)) if draw(st.booleans())]
    return Pattern(
        tuple(a[0] for a in found), tuple(a[1] for a in found), tuple(data), tuple(names.sizes), tuple(placed)
    )


def numbers(pattern, seed):
    return np.random.default_rng(seed).standard_normal(pattern.data_shape) if pattern.data else None


def matrix(pattern, data):
    """By the definition: an entry for every combination of the labels that no window places, where the windows reach."""
    full = np.zeros((*pattern.out_shape, *pattern.in_shape))
    free = [n for n in range(len(pattern.sizes)) if n not in pattern.placed]
    for index in np.ndindex(*(pattern.sizes[n] for n in free)):
        at = dict(zip(free, index, strict=True))
        at |= {w.label: w.offset + sum(s * at[n] for n, s in w.terms) for w in pattern.windows}
        if all(0 <= at[w.label] < pattern.sizes[w.label] for w in pattern.windows):
            place = tuple(at[axis[0]] if axis else 0 for axis in (*pattern.out, *pattern.inn))
            full[place] += 1.0 if data is None else data[tuple(at[n] for n in pattern.data)]
    return full.reshape(int(np.prod(pattern.out_shape)), -1)


class Carried:
    """A writer, and what its steps give, each carried out once."""

    def __init__(self):
        program = Program()
        self.writer = Writer(program, 8, RATES["cpu"])
        self.run = Run(Linearised(program), Primal({}), jnp.float64, 0)
        self.registers = {}

    def factor(self, pattern, data):
        stored = Stored(self.writer.registers, pattern)
        self.writer.registers += 1
        self.registers[stored.register] = None if data is None else jnp.asarray(data)
        return stored

    def full(self, term):
        """The term as a matrix, through its windows and with them placed; both must be the same."""
        pattern = windows.plain(self.writer, term)

        def carry(registers):
            for step in self.writer.steps:
                if step.writes[0] not in registers:
                    read = [registers[n] for n in step.reads]
                    registers = registers | dict(zip(step.writes, perform(step.action, self.run, read), strict=True))
            return registers, entries(pattern.pattern, registers[pattern.register])

        self.registers, found = jax.jit(carry)(self.registers)
        found = np.asarray(found).reshape(int(np.prod(pattern.pattern.out_shape)), -1)
        local = self.registers[term.register]
        sparse = sparse_matrix(term.pattern, np.ones(()) if local is None else np.asarray(local)).toarray()
        assert np.linalg.norm(sparse - found) <= TIGHT * (1 + np.linalg.norm(found))
        return found


def close(found, expected, *factors):
    return np.linalg.norm(found - expected) <= TIGHT * (1 + np.prod([np.linalg.norm(f) for f in factors]))


@settings(max_examples=80)
@given(st.data(), extents, extents)
def test_placing_a_window_leaves_the_matrix_as_it_is(data, out, inn):
    pattern = data.draw(patterns(out, inn))
    x = numbers(pattern, 0)
    with precise(True):
        carried = Carried()
        assert relative_error(carried.full(carried.factor(pattern, x)), matrix(pattern, x)) < TIGHT or not x.any()


@settings(max_examples=150)
@given(st.data(), extents, extents, extents, st.sampled_from(["in", "out"]))
def test_the_product_through_windows_is_the_product_of_the_matrices(data, out, middle, inn, last):
    a, b = data.draw(patterns(out, middle)), data.draw(patterns(middle, inn))
    x, y = numbers(a, 1), numbers(b, 2)
    with precise(True):
        carried = Carried()
        found = carried.full(carried.writer.multiply(carried.factor(a, x), carried.factor(b, y), last))
    assert close(found, matrix(a, x) @ matrix(b, y), matrix(a, x), matrix(b, y))


@settings(max_examples=30)
@given(st.data(), extents, extents, extents, extents)
def test_products_through_windows_are_associative_and_turn_with_their_factors(data, out, upper, lower, inn):
    chosen = [data.draw(patterns(*pair)) for pair in ((out, upper), (upper, lower), (lower, inn))]
    values = [numbers(p, seed) for seed, p in enumerate(chosen)]
    expected = np.linalg.multi_dot([matrix(p, x) for p, x in zip(chosen, values, strict=True)])
    scale = [matrix(p, x) for p, x in zip(chosen, values, strict=True)]
    with precise(True):
        carried = Carried()
        times = carried.writer.multiply
        a, b, c = (carried.factor(p, x) for p, x in zip(chosen, values, strict=True))
        assert close(carried.full(times(times(a, b, "in"), c, "in")), expected, *scale)
        assert close(carried.full(times(a, times(b, c, "out"), "out")), expected, *scale)
        a, b, c = (carried.factor(p.transposed(), x) for p, x in zip(chosen, values, strict=True))
        assert close(carried.full(times(c, times(b, a, "in"), "in")).T, expected, *scale)


@settings(max_examples=60)
@given(st.data(), extents, extents)
def test_sums_of_factors_with_windows_are_the_sums_of_their_matrices(data, out, inn):
    a, b = data.draw(patterns(out, inn)), data.draw(patterns(out, inn))
    x, y = numbers(a, 1), numbers(b, 2)
    with precise(True):
        carried = Carried()
        alike, apart = ([carried.factor(a, x), carried.factor(p, v)] for p, v in ((a, x), (b, y)))
        assert close(carried.full(carried.writer.combined(alike)), 2 * matrix(a, x), matrix(a, x))
        assert close(
            carried.full(carried.writer.combined(apart)), matrix(a, x) + matrix(b, y), matrix(a, x), matrix(b, y)
        )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(-3, 3),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
def test_digits_of_one_position_are_joined_by_a_reshape(radices, offset, size, random):
    """Hidden labels that count through consecutive positions, in any order in the data, land where they count to."""
    strides = np.cumprod([1, *radices[::-1]])[:-1][::-1]
    labels = list(range(1, len(radices) + 1))
    terms = [(n, int(stride)) for n, stride in zip(labels, strides, strict=True)]
    random.shuffle(terms)
    order = [0, *labels]
    random.shuffle(order)
    sizes = (size, *radices)
    pattern = Pattern((), ((0,),), tuple(n for n in order if n), sizes, (window(0, tuple(terms), offset, sizes),))
    data = np.random.default_rng(0).standard_normal(pattern.data_shape)
    plan = joined(pattern, 0)
    counted = np.transpose(data, [pattern.data.index(n) for n in labels]).reshape(-1)
    wanted = np.zeros(size)
    for position, number in enumerate(counted, offset):
        if 0 <= position < size:
            wanted[position] = number
    assert np.array_equal(np.asarray(plan.apply(jnp.asarray(data), jnp.float32)), wanted.astype(np.float32))
    program = str(jax.make_jaxpr(lambda a: plan.apply(a, jnp.float32))(data))
    assert not any(slow in program for slow in ("concatenate", "stack"))
