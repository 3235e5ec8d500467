"""FGSM's step, and from a start of their own the many steps of those samples that it does not do for.

A step of one gradient ends where the next begins, so the forward pass of the next judges it: two passes a step, forward and
back. What FGSM's step is worth is asked for all samples at once, which leaves the loop to those that need it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.attacks.classifier import Scores
from netjac.attacks.fgsm import Fgsm
from netjac.attacks.rounds import Queue, Rule, Samples, Slots, View, at_rest, compiled, looped, margins


def walked(scores: Scores, weights: tuple[Any, ...], rule: Rule, samples: Samples, jump: Fgsm) -> Any:
    """The best perturbed input of every sample, (N, n), unclipped: of x, the point of `jump`, the start, and every step."""
    first = compiled(scores, "jumped", lambda *given: jumped(scores, *given))
    size = scores.samples
    parts = [first(jump, rule, weights, _part(samples, start, size)) for start in range(0, len(samples.x), size)]
    best, margin = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in (0, 1))
    waits = (np.arange(len(margin)) < samples.count) & ~((margin > 0) & rule.stops)
    if not waits.any():
        return best
    order = np.full(len(margin) + 1, len(margin), np.int32)
    order[: waits.sum()] = np.flatnonzero(waits)
    start = samples.x if samples.start is None else samples.start
    begins = replace(
        at_rest(samples), at=np.clip(start, samples.low, samples.high), raw=start, best=best, margin=margin
    )
    return looped(scores, "walked", _looked, weights, rule, samples, Queue(begins, order))


def _part(samples: Samples, start: int, size: int) -> Samples:
    run = slice(start, start + size)
    return replace(samples, x=samples.x[run], start=None, goal=samples.goal[run])


def jumped(
    scores: Scores, jump: Fgsm, rule: Rule, weights: tuple[Any, ...], samples: Samples
) -> tuple[jax.Array, jax.Array]:
    """The better of x and one step (B, n), and its margin (B,). A sample that is where it should be does not move."""
    view = View(scores, weights)
    slots = at_rest(samples)
    moved = jump.move(view, slots, samples)
    before = margins(moved.scores, slots.goal, samples.targeted)
    after = margins(view.scores(samples.clipped(moved.raw)), slots.goal, samples.targeted)
    better = ((after > before) | _broken(moved.raw)) & ~((before > 0) & rule.stops)
    return jnp.where(better[:, None], moved.raw, slots.x), jnp.where(better, after, before)


def _looked(rule: Rule, view: View, samples: Samples, slots: Slots) -> tuple[Slots, jax.Array]:
    """In every slot a look at where it is and the step from there. Where that leads nowhere, no other would."""
    moved = rule.move(view, slots, samples)
    here = margins(moved.scores, slots.goal, samples.targeted)
    better = here > slots.margin
    best, margin = jnp.where(better[:, None], slots.raw, slots.best), jnp.where(better, here, slots.margin)
    lost = _broken(moved.onward) & ~(margin > 0)
    best = jnp.where(lost[:, None], moved.onward, best)
    onward = samples.clipped(moved.onward)
    taken = slots.taken + 1
    done = lost | ((margin > 0) & rule.stops) | jnp.all(onward == slots.at, -1) | (taken > rule.steps)
    return Slots(slots.index, taken, slots.x, onward, moved.raw, best, margin, slots.goal), done


def _broken(moved: jax.Array) -> jax.Array:
    """Samples whose gradient is not finite, (B,): nothing is known of them, and to stay where they were would look robust."""
    return ~jnp.isfinite(moved).all(-1)
