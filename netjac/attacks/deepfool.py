"""DeepFool: the nearest boundary of the linearised network, again and again until the class has changed.

Moosavi-Dezfooli, Fawzi, Frossard, DeepFool: a simple and accurate method to fool deep neural networks (CVPR 2016), algorithm
2 and section 3.3. Of an affine classifier the first step leads to the nearest boundary, and the distance is exact:
(1 + overshoot) · min_k |f_k − f_0| / ‖w_k − w_0‖ in the dual norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from netjac.attacks.fgsm import positive, whole
from netjac.attacks.given import Bounds, given
from netjac.attacks.norms import dual, norm_of, steepest, understood
from netjac.attacks.result import Attack
from netjac.attacks.rounds import Moved, Samples, Slots, View, others, rounding
from netjac.attacks.search import How, attacked
from netjac.errors import RangeError
from netjac.progress import Progress


def deepfool(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    epsilon: float | None = None,
    norm: int | float | str = 2,
    bounds: Bounds = None,
    targets: Any = None,
    overshoot: float = 0.02,
    steps: int = 50,
    candidates: int = 10,
    of: str | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Attack:
    """A small perturbation that changes each sample's class, by steps to the nearest boundary of the linearised network.

    Arguments as in `fgsm`; with `epsilon`, what is farther is no success. `norm`: 2 or inf. `overshoot`: by how much each step
    goes past the boundary. `candidates`: only the so many classes of highest score are tried besides the sample's own.

    Steps add up unclipped, and the network is seen at the clipped point. A step of which clipping takes a part is lengthened
    until the linearised network changes its class at the clipped point; otherwise steps come ever closer to the boundary and
    never cross it. With `targets` each step leads to the boundary between the target and the class that is ahead.

    Raises what `fgsm` does, and `RangeError` for `overshoot`, `steps` and `candidates` out of range.
    """
    limit = None if epsilon is None else positive("epsilon", epsilon)
    if not 0 <= overshoot < float("inf"):
        raise RangeError(f"overshoot={overshoot!r} is not a share of a step; give one from 0, such as 0.02")
    rule = DeepFool(understood(norm), float(overshoot), whole("steps", steps), whole("candidates", candidates))
    how = How("DeepFool", rule.norm, limit, of, precision, memory, progress, rows=rule.candidates)
    return attacked(model, given(X, y, targets, bounds), rule, how)


# A step that clipping shortens is lengthened by halving, to about a millionth.
LEAST_SHARE = 1e-3
HALVINGS = 30
ROUNDING = 1e-5


@partial(
    jax.tree_util.register_dataclass, data_fields=["overshoot", "steps"], meta_fields=["norm", "candidates", "stops"]
)
@dataclass(frozen=True)
class DeepFool:
    """One linearisation and the step that it asks for, as a `netjac.attacks.rounds.Rule`."""

    norm: float
    overshoot: float
    steps: int
    candidates: int
    stops: bool = True

    def move(self, view: View, slots: Slots, samples: Samples) -> Moved:
        scores = view.scores(slots.at)
        combined = self._boundaries(scores, slots.goal, samples.targeted)
        normals = view.rows(slots.at, combined)
        gaps = -jnp.einsum("bkm,bm->bk", combined, scores)
        down, up = (slots.at <= samples.low)[:, None], (slots.at >= samples.high)[:, None]
        free = jnp.where((down & (normals < 0)) | (up & (normals > 0)), 0, normals)
        slopes = dual(free, self.norm)
        distances = jnp.where(slopes > 0, jnp.abs(gaps) / jnp.where(slopes > 0, slopes, 1), jnp.inf)
        nearest = jnp.argmin(distances, -1)[:, None]
        normal = jnp.take_along_axis(normals, nearest[:, :, None], 1)[:, 0]
        gap = (1 + self.overshoot) * jnp.take_along_axis(jnp.abs(gaps), nearest, 1)[:, 0] + 2 * rounding(scores)
        stuck = ~jnp.isfinite(jnp.min(distances, -1))
        direction = steepest(normal, self.norm)
        length = gap / jnp.where(stuck, 1, dual(normal, self.norm))
        if samples.bounded:
            gone = norm_of(slots.raw - slots.x, self.norm)
            near = length <= jnp.maximum(self.overshoot, LEAST_SHARE) * gone
            length = jnp.where(near, _lengthened(length, gap, normal, direction, slots, samples), length)
        raw = slots.raw + jnp.where(stuck, 0, length)[:, None] * direction
        return Moved(raw, raw, stuck, scores)

    def _boundaries(self, scores: jax.Array, goal: jax.Array, targeted: bool) -> jax.Array:
        """(B, K, classes): each row, times the scores, is how far one class is ahead of the other on a boundary."""
        classes = scores.shape[1]
        own = jax.nn.one_hot(goal, classes, dtype=scores.dtype)[:, None]
        rivals = jax.lax.top_k(others(scores, goal), 1 if targeted else min(self.candidates, classes - 1))[1]
        theirs = jax.nn.one_hot(rivals, classes, dtype=scores.dtype)
        return own - theirs if targeted else theirs - own


def _lengthened(
    length: jax.Array, gap: jax.Array, normal: jax.Array, direction: jax.Array, slots: Slots, samples: Samples
) -> jax.Array:
    """The step (B,) at which the linearised network, seen at the clipped point, has gained `gap`; what it was if none does."""

    def gained(step: jax.Array) -> jax.Array:
        return jnp.sum(normal * (samples.clipped(slots.raw + step[:, None] * direction) - slots.at), -1)

    def halve(_: int, bracket: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        short, long, enough = bracket
        tried = jnp.where(enough, (short + long) / 2, 2 * long)
        reaches = gained(tried) >= gap
        return (
            jnp.where(reaches, short, tried),
            jnp.where(reaches | ~enough, tried, long),
            enough | reaches,
        )

    enough = gained(length) >= gap * (1 - ROUNDING)
    _, long, enough = jax.lax.fori_loop(0, HALVINGS, halve, (length, length, enough))
    return jnp.where(enough, long, length)
