"""Softmax over a box of logits u: the exact range of every share, and its slopes as differences of an average.

With a = Σ_{j≠i} exp(u_j − u_i) the share is p = 1 / (1 + a), its slope by its own logit p (1 − p) = 1 / (2 + a + 1/a), both of
one number whose range is known (Wei et al., Convex bounds on the softmax function, 2023). Behind slopes g_j of the logits

    ∂p_i = p_i (1 − p_i) (g_i − Σ_{j≠i} q_j g_j),   ∂ log p_i = (1 − p_i) (g_i − Σ_{j≠i} q_j g_j),   ∂ log Σ e^u = Σ p_j g_j

with q the softmax of the others: every g stands there once. As shares sum to 1, for every number λ

    Σ q_j g_j = λ + Σ q_j (g_j − λ) ≤ λ + Σ max(q⁻_j (g_j − λ), q⁺_j (g_j − λ)),

the dual of filling up the largest g_j first; λ is found by halving, and holds wherever that ends.

    u ∈ [0, 1] × [0, 0]: a = exp(u_2 − u_1) ∈ [1/e, 1], p_1 ∈ [0.5, 0.731], p_1 (1 − p_1) ∈ [0.197, 0.25]
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from netjac.certified.enclosed import Ball, Enclosed, Line, ball, settled
from netjac.certified.enclosed import line as new_line
from netjac.certified.grouping import grouping, ungrouping
from netjac.certified.interval import FUNCTION, TINY, UNIT, Interval, gamma, meet, multiply, subtract, widened
from netjac.certified.patterns import Kind

HALVINGS = 14


def shares(kind: Kind, logits: Enclosed, axes: tuple[int, ...], plain: Enclosed) -> Enclosed:
    """What `kind` says of the softmax of the logits, met with what its equations one by one have given, `plain`."""
    shape = logits.value.lo.shape
    group, out = grouping(shape, axes), plain.value.lo.shape
    u = Enclosed(
        Interval(group(logits.value.lo), group(logits.value.hi)),
        None if logits.slope is None else Ball(*map(group, logits.slope)),
        None if logits.line is None else Line(*map(group, logits.line)),
    )
    between = _differences(u)
    value, slope, found = _log_sum(u, between) if kind == "log sum" else _shares(kind, u, between)
    back = _whole(out) if kind == "log sum" else ungrouping(shape, axes)
    value = meet(plain.value, Interval(*map(back, value)))
    narrowed = plain.slope
    if slope is not None and narrowed is not None:
        narrowed = ball(meet(narrowed.interval, Interval(*map(back, slope))))
    line = plain.line
    if found is not None and line is not None:
        line = _narrower(line, Line(*map(back, found)))
    return settled(value, narrowed, line)


def _differences(u: Enclosed) -> Interval:
    """(rows, i, j): exp(u_j − u_i), of intervals and of lines."""
    lo, hi = u.value
    found = subtract(Interval(lo[:, None, :], hi[:, None, :]), Interval(lo[:, :, None], hi[:, :, None]))
    if u.line is not None:
        centre, error, along, reach = u.line

        def spread(i: jax.Array) -> jax.Array:
            return jnp.abs(along - along[:, :, i, None]).sum(0)

        apart = jnp.moveaxis(lax.map(spread, jnp.arange(lo.shape[1])), 0, 1) * (1 + gamma(along.shape[0]))
        size = jnp.abs(centre) + error + reach
        apart = apart + error[:, None, :] + error[:, :, None] + 8 * UNIT * (size[:, None, :] + size[:, :, None])
        middle = centre[:, None, :] - centre[:, :, None]
        found = meet(found, Interval(middle - apart, middle + apart))
    low = jnp.where(jnp.isnan(found.lo), -jnp.inf, found.lo)
    high = jnp.where(jnp.isnan(found.hi), jnp.inf, found.hi)
    ratio = widened(jnp.exp(low), jnp.exp(high), FUNCTION)
    own = jnp.eye(lo.shape[1], dtype=bool)
    return Interval(jnp.where(own, 1.0, jnp.maximum(ratio.lo, 0.0)), jnp.where(own, 1.0, ratio.hi))


def _shares(kind: Kind, u: Enclosed, between: Interval) -> tuple[Interval, Interval | None, Line | None]:
    n = u.value.lo.shape[1]
    others = jnp.where(jnp.eye(n, dtype=bool), 0.0, 1.0)
    g = 2 * gamma(n)
    low, high = ((jnp.where(others > 0, end, 0.0)).sum(-1) for end in between)
    low, high = low * (1 - g), high * (1 + g)
    share = _unit(widened(1 / (1 + high), 1 / (1 + low)))
    own = _own(low, high)
    if kind == "share":
        value, weight = share, own
    else:
        value, weight = widened(-jnp.log1p(high), -jnp.log1p(low), FUNCTION), _rest(low, high)
        value = Interval(value.lo, jnp.minimum(value.hi, 0.0))
    slope = None
    if u.slope is not None:
        g_all = u.slope.interval

        def one(i: jax.Array) -> tuple[jax.Array, jax.Array]:
            counted = jnp.arange(n) != i
            q = _average_weights(between, counted)
            average = _averages(q, g_all, counted)
            mine = Interval(g_all.lo[..., i], g_all.hi[..., i])
            factor = Interval(weight.lo[:, i], weight.hi[:, i])
            return tuple(multiply(factor, subtract(mine, average)))  # type: ignore[return-value]

        slope = Interval(*(jnp.moveaxis(end, 0, -1) for end in lax.map(one, jnp.arange(n))))
    if u.line is None:
        return value, slope, None
    both = multiply(
        Interval(share.lo[:, :, None], share.hi[:, :, None]), Interval(share.lo[:, None], share.hi[:, None])
    )
    eye = jnp.eye(n, dtype=bool)
    if kind == "share":
        by = Interval(jnp.where(eye, own.lo[:, :, None], -jnp.minimum(both.hi, 0.25)),
                      jnp.where(eye, own.hi[:, :, None], -both.lo))  # fmt: skip
    else:
        by = Interval(jnp.where(eye, weight.lo[:, :, None], -share.hi[:, None, :]),
                      jnp.where(eye, weight.hi[:, :, None], -share.lo[:, None, :]))  # fmt: skip
    return value, slope, _laid(_at_middle(kind), u, by)


def _log_sum(u: Enclosed, between: Interval) -> tuple[Interval, Interval | None, Line | None]:
    n = u.value.lo.shape[1]
    value = widened(_logs(u.value.lo), _logs(u.value.hi), FUNCTION + gamma(n), 1.0)
    every = jnp.ones(n, bool)
    share = _average_weights(between, every)
    slope = None if u.slope is None else _averages(share, u.slope.interval, every)
    line = None
    if u.line is not None:
        line = _laid(lambda m: _logs(m)[:, None], u, Interval(share.lo[:, None, :], share.hi[:, None, :]))
        line = Line(line.centre[:, 0], line.error[:, 0], line.along[:, :, 0], line.reach[:, 0])
    return value, slope, line


def _logs(u: jax.Array) -> jax.Array:
    return jnp.asarray(jax.nn.logsumexp(u, -1))


def _own(low: jax.Array, high: jax.Array) -> Interval:
    """1 / (2 + a + 1/a), which rises to 1/4 at a = 1 and falls."""
    ends = [1 / (2 + a + 1 / a) for a in (low, high)]
    top = jnp.where((low <= 1) & (high >= 1), 0.25, jnp.maximum(*ends))
    found = widened(jnp.minimum(*ends), top, 16 * UNIT)
    return Interval(jnp.maximum(found.lo, 0.0), jnp.minimum(found.hi, 0.25))


def _rest(low: jax.Array, high: jax.Array) -> Interval:
    """a / (1 + a) = 1 / (1 + 1/a)."""
    return _unit(widened(1 / (1 + 1 / low), 1 / (1 + 1 / high)))


def _unit(share: Interval) -> Interval:
    return Interval(jnp.maximum(share.lo, 0.0), jnp.minimum(share.hi, 1.0))


def _average_weights(between: Interval, counted: jax.Array) -> Interval:
    """The shares among the entries that are counted; zero of the others."""
    g = 2 * gamma(counted.shape[0])
    low, high = (jnp.where(counted, end, 0.0).sum(-1) for end in between)
    share = _unit(widened(1 / (high * (1 + g)), 1 / (low * (1 - g))))
    return Interval(jnp.where(counted, share.lo, 0.0), jnp.where(counted, share.hi, 0.0))


def _averages(share: Interval, slopes: Interval, counted: jax.Array) -> Interval:
    """Σ q_j g_j with Σ q_j = 1: (features, rows)."""
    return Interval(-_most(share, -slopes.lo, counted), _most(share, slopes.hi, counted))


def _most(share: Interval, g: jax.Array, counted: jax.Array) -> jax.Array:
    g = jnp.where(counted, g, 0.0)
    low = jnp.where(counted, g, jnp.inf).min(-1)
    high = jnp.where(counted, g, -jnp.inf).max(-1)

    def halved(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        mid = 0.5 * low + 0.5 * high
        above = jnp.where(g > mid[..., None], share.hi, share.lo).sum(-1) > 1
        return jnp.where(above, mid, low), jnp.where(above, high, mid)

    low, high = lax.fori_loop(0, HALVINGS, halved, (low, high))
    level = jnp.where(jnp.isfinite(high), high, 0.0)
    rest = g - level[..., None]
    terms = jnp.where(counted, jnp.maximum(share.lo * rest, share.hi * rest), 0.0)
    size = jnp.abs(level) + jnp.abs(terms).sum(-1)
    return level + terms.sum(-1) + 2 * gamma(g.shape[-1]) * size + TINY


def _at_middle(kind: Kind) -> Callable[[jax.Array], jax.Array]:
    def at(u: jax.Array) -> jax.Array:
        found = jax.nn.softmax(u, -1) if kind == "share" else jax.nn.log_softmax(u, -1)
        return jnp.asarray(found)

    return at


def _laid(function: Callable[[jax.Array], jax.Array], u: Enclosed, by: Interval) -> Line:
    """f(m) + Σ_j s_j (u_j − m_j) for slopes s of f in `by`, (rows, i, j). What is surely −∞ does not move."""
    assert u.line is not None
    gone = u.value.hi == -jnp.inf
    m, r = (jnp.where(gone, 0.0, part) for part in (u.value.mid, u.value.rad))
    centre, error, along, reach = (jnp.where(gone, 0.0, part) for part in u.line)
    at, n = function(u.value.mid), m.shape[1]
    factor, spread = by.mid, by.rad
    size = jnp.abs(factor)

    def over(matrix: jax.Array, vector: jax.Array) -> jax.Array:
        return jnp.einsum("rij,rj->ri", matrix, vector)

    rounding = 2 * gamma(n) * over(size, jnp.abs(centre) + jnp.abs(m) + error + reach) + 4 * FUNCTION * (
        jnp.abs(at) + 1
    )
    found = over(size, error) + over(spread, r) + rounding + gamma(n) * jnp.ones_like(at)
    return new_line(
        at + over(factor, centre - m), found * (1 + 4 * gamma(n)) + TINY, jnp.einsum("rij,frj->fri", factor, along)
    )


def _narrower(plain: Line, other: Line) -> Line:
    """Entry by entry the line that is less wide of the value."""
    better = ~(plain.error <= other.error) & jnp.isfinite(other.centre + other.error + other.reach)
    return Line(*(jnp.where(better, b, a) for a, b in zip(plain, other, strict=True)))


def _whole(out: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """(…, rows) → (…, *out)."""
    return lambda a: a.reshape((*a.shape[: a.ndim - 1], *out))
