"""The shapes in which tangents and cotangents may be given, and the block (k, batch, …) that sweeps take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import ShapeError

Restore = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Sides:
    """The two sides of a Jacobian. `shared`: in has no samples of its own (parameters), a tangent is one for all."""

    batch: int | None
    out: tuple[int, ...]
    inn: tuple[int, ...]
    dtype: Any
    shared: bool = False

    @property
    def lead(self) -> tuple[int, ...]:
        return () if self.batch is None else (self.batch,)

    @property
    def m(self) -> int:
        return prod(self.out)

    @property
    def n(self) -> int:
        return prod(self.inn)

    @property
    def tangent_shape(self) -> tuple[int, ...]:
        return self.inn if self.shared else (*self.lead, *self.inn)

    def with_batch(self, batch: int | None) -> Sides:
        return replace(self, batch=batch)


def tangents(sides: Sides, v: jax.Array) -> tuple[jax.Array, Restore]:
    """v as (k, batch, *in), and how to shape the products (k, batch, *out) as v was."""
    return _block(v, sides.inn, sides.tangent_shape, sides.out, "in", last=True)


def cotangents(sides: Sides, u: jax.Array) -> tuple[jax.Array, Restore]:
    """u as (k, batch, *out), and how to shape the products (k, batch, *in) as u was."""
    return _block(u, sides.out, (*sides.lead, *sides.out), sides.inn, "out", last=False)


def _block(
    v: jax.Array, inner: tuple[int, ...], full: tuple[int, ...], other: tuple[int, ...], side: str, last: bool
) -> tuple[jax.Array, Restore]:
    """The first of the accepted shapes that fits."""
    lead = full[: len(full) - len(inner)]
    size = prod(inner)
    if v.shape == full:
        return v[None], lambda r: r[0]
    if v.shape == inner:
        return jnp.broadcast_to(v, full)[None], lambda r: r[0]
    for head in dict.fromkeys((lead, ())):
        place = v.ndim - 1 if last else len(head)
        if v.ndim == len(head) + 1 + len(inner) and v.shape[:place] + v.shape[place + 1 :] == (*head, *inner):
            block = jnp.moveaxis(v, place, 0)
            block = block if head == lead else block.reshape((block.shape[0], *(1,) * len(lead), *inner))
            places = -1 if last else len(lead)
            return jnp.broadcast_to(block, (block.shape[0], *full)), partial(_vectors_to, places)
    if v.shape in ((size,), (*lead, size)):
        block = jnp.broadcast_to(v.reshape((*v.shape[:-1], *inner)), full)[None]
        width = prod(other)
        return block, lambda r: r[0].reshape((*r.shape[1 : r.ndim - len(other)], width))
    accepted = " or ".join(dict.fromkeys(map(str, (full, inner, (*lead, size)))))
    raise ShapeError(
        f"a vector of shape {v.shape} does not fit the {side} side; give {accepted}, or one more axis of them"
    )


def _vectors_to(place: int, block: jax.Array) -> jax.Array:
    return jnp.moveaxis(block, 0, place)


def rows(sides: Sides, chosen: np.ndarray) -> np.ndarray:
    """One-hot cotangents (k, batch, *out) for the chosen flat indices."""
    return _one_hot(chosen, sides.out, (*sides.lead, *sides.out), sides.dtype)


def columns(sides: Sides, chosen: np.ndarray) -> np.ndarray:
    """One-hot tangents (k, batch, *in) for the chosen flat indices."""
    return _one_hot(chosen, sides.inn, sides.tangent_shape, sides.dtype)


def _one_hot(chosen: np.ndarray, inner: tuple[int, ...], full: tuple[int, ...], dtype: Any) -> np.ndarray:
    seeds = np.zeros((len(chosen), prod(inner)), dtype)
    seeds[np.arange(len(chosen)), chosen] = 1
    shaped = seeds.reshape((len(chosen), *(1,) * (len(full) - len(inner)), *inner))
    return np.broadcast_to(shaped, (len(chosen), *full))
