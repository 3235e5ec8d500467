"""The Jacobian-based saliency map attack: few features, changed by much, two at a time.

Papernot, McDaniel, Jha, Fredrikson, Celik, Swami, The limitations of deep learning in adversarial settings (EuroS&P 2016),
algorithms 2 and 3, equations 8 and 9. Of all pairs (p, q) of features that can still move, with

    α = Σ_{i∈{p,q}} ∂F_t/∂x_i          what they do for the target
    β = Σ_{i∈{p,q}} Σ_{j≠t} ∂F_j/∂x_i  what they do for all other classes together

the one of largest −αβ is taken among those with α > 0 > β where features grow (θ > 0), and α < 0 < β where they shrink.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.attacks.fgsm import whole
from netjac.attacks.given import Bounds, given
from netjac.attacks.result import Attack
from netjac.attacks.rounds import Moved, Samples, Slots, View, others
from netjac.attacks.search import How, attacked
from netjac.errors import RangeError, ShapeError
from netjac.progress import Progress


def jsma(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    targets: Any = None,
    theta: float = 1.0,
    gamma: float = 0.145,
    bounds: Bounds = None,
    steps: int | None = None,
    of: str | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Attack:
    """Pairs of features moved by θ, the most salient first, until the model gives the target.

    Arguments as in `fgsm`. `theta`: by how much a feature moves in a step, in the units of X; below zero features shrink.
    `gamma`: the largest share of features that may change (Υ of the paper, there 14.5 %). A feature at its bound moves no
    more; without `bounds` none ever is. `steps`: pairs moved at most, ⌊γn/2⌋ by default as in the paper; more let the same
    features move again. Without `targets` each step goes for the class that is next to the label, and any other class is a
    success. F are logits where the network has them, as in the paper, else logarithms of
    probabilities. The distance (norm 0) is the number of features changed.

    Raises what `fgsm` does, and `RangeError` for `theta`, `gamma` and `steps` out of range.
    """
    if not np.isfinite(theta) or theta == 0:
        raise RangeError(
            f"theta={theta!r} moves nothing; give by how much a feature moves in a step, below zero to shrink"
        )
    if not 0 < gamma <= 1:
        raise RangeError(
            f"gamma={gamma!r} is no share; give the largest share of features to change, above 0 and up to 1"
        )
    samples = given(X, y, targets, bounds)
    features = samples.low.size
    most = int(np.floor(gamma * features + 1e-9))
    if most < 2:
        raise ShapeError(
            f"gamma={gamma:g} of {features} features is less than the two that are changed in a step; give a larger share"
        )
    rule = Jsma(abs(float(theta)), most, most // 2 if steps is None else whole("steps", steps), theta > 0)
    how = How("JSMA", 0.0, None, of, precision, memory, progress, rows=2)
    return attacked(model, samples, rule, how)


@partial(jax.tree_util.register_dataclass, data_fields=["size", "most", "steps"], meta_fields=["grows", "stops"])
@dataclass(frozen=True)
class Jsma:
    """The most salient pair of features, moved, as a `netjac.attacks.rounds.Rule`; `most` features change at most."""

    size: float
    most: int
    steps: int
    grows: bool
    stops: bool = True

    def move(self, view: View, slots: Slots, samples: Samples) -> Moved:
        scores = view.scores(slots.at)
        sign = 1 if self.grows else -1
        target = slots.goal if samples.targeted else jnp.argmax(others(scores, slots.goal), -1)
        own = jax.nn.one_hot(target, scores.shape[1], dtype=scores.dtype)
        rows = view.rows(slots.at, jnp.stack([own, 1 - own], 1)) * sign
        room = slots.at < samples.high if self.grows else slots.at > samples.low
        pair, salient = self._pair(rows[:, 0], rows[:, 1], room, slots.raw != slots.x)
        moved = jax.nn.one_hot(pair, slots.x.shape[1], dtype=slots.x.dtype).sum(1)
        raw = slots.raw + jnp.where(salient[:, None], sign * self.size * moved, 0)
        return Moved(raw, raw, ~salient, scores)

    def _pair(
        self, alpha: jax.Array, beta: jax.Array, room: jax.Array, changed: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The pair (B, 2) of largest −αβ, the first of equals, and whether there is any."""
        left = self.most - changed.sum(-1)

        def against(p: jax.Array, own: tuple[jax.Array, ...]) -> jax.Array:
            """The saliency of every pair (p, q), zero where they may not be taken."""
            a, b, free, fresh = own
            both_a, both_b = a[..., None] + alpha[:, None], b[..., None] + beta[:, None]
            new = fresh[..., None].astype(jnp.int32) + ~changed[:, None]
            allowed = free[..., None] & room[:, None] & (new <= left[:, None, None])
            allowed &= p[..., None] != jnp.arange(alpha.shape[1])
            return jnp.where(allowed & (both_a > 0) & (both_b < 0), -both_a * both_b, 0)

        every = jnp.broadcast_to(jnp.arange(alpha.shape[1]), alpha.shape)
        strongest = against(every, (alpha, beta, room, ~changed)).max(-1)
        first = jnp.argmax(strongest, -1)[:, None]
        own = tuple(jnp.take_along_axis(a, first, 1) for a in (alpha, beta, room, ~changed))
        second = jnp.argmax(against(first, own)[:, 0], -1)[:, None]
        return jnp.concatenate([first, second], 1), jnp.take_along_axis(strongest, first, 1)[:, 0] > 0
