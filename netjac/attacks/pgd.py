"""Projected gradient descent: many small steps, each brought back into the ball of radius ε around the sample.

Madry, Makelov, Schmidt, Tsipras, Vladu, Towards deep learning models resistant to adversarial attacks (ICLR 2018), section 2.1.
That wide steps first and ever shorter ones find more than as many of one size: Croce, Hein, Reliable evaluation of adversarial
robustness with an ensemble of diverse parameter-free attacks (ICML 2020), section 3, who halve theirs where progress ends. Here
they fall evenly, which asks for nothing to be watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from netjac.attacks.fgsm import Fgsm, ascent, positive, whole
from netjac.attacks.given import Bounds, given
from netjac.attacks.norms import INF, steepest, understood, within
from netjac.attacks.result import Attack
from netjac.attacks.rounds import Moved, Samples, Slots, View
from netjac.attacks.search import How, attacked
from netjac.attacks.walk import walked
from netjac.progress import Progress


def pgd(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    epsilon: float,
    norm: int | float | str = INF,
    bounds: Bounds = None,
    targets: Any = None,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    seed: int = 0,
    all_steps: bool = False,
    of: str | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Attack:
    """x ← Π(x + α · direction of ∇ₓ loss), from a random point of the ball, `steps` times, Π onto the ball and `bounds`.

    Arguments as in `fgsm`. α falls evenly from ε to ε / `steps`; with `step_size` every step is of that size. A start drawn by
    `seed` is the same for the same X, however the samples are cut. The point of FGSM at the same ε is looked at first, and each
    sample has the best of all points: the one where the margin of the goal is largest. So it never fails where FGSM succeeds.

    A sample that succeeds moves no further. `all_steps=True` takes all steps with all samples, for the largest margin.

    Raises what `fgsm` does, and `RangeError` for `steps` and `step_size` that are not positive.
    """
    length, order = positive("epsilon", epsilon), understood(norm)
    most = whole("steps", steps)
    if seed is not None:
        whole("seed", seed, 0)
    size = length if step_size is None else positive("step_size", step_size)
    rule = Pgd(length, order, size, 1.0 if step_size is None else 0.0, most, not all_steps)
    radius = length if random_start else 0.0
    run = partial(walked, jump=Fgsm(length, order))
    how = How("PGD", order, length, of, precision, memory, progress, all_steps, radius, seed, run=run)
    return attacked(model, given(X, y, targets, bounds), rule, how)


@partial(
    jax.tree_util.register_dataclass, data_fields=["epsilon", "size", "falls", "steps"], meta_fields=["norm", "stops"]
)
@dataclass(frozen=True)
class Pgd:
    """One step, as a `netjac.attacks.rounds.Rule`. The first is of length `size`; with `falls` 1 each is shorter than the one
    before by `size` / `steps`, with 0 all are alike."""

    epsilon: float
    norm: float
    size: float
    falls: float
    steps: int
    stops: bool

    def move(self, view: View, slots: Slots, samples: Samples) -> Moved:
        scores = view.scores(slots.at)
        direction = steepest(ascent(view, slots, scores, samples.targeted), self.norm)
        size = (self.size * (1 - self.falls * slots.taken / self.steps)).astype(direction.dtype)
        raw = slots.x + within(slots.at - slots.x + size[:, None] * direction, self.epsilon, self.norm)
        return Moved(raw, raw, jnp.zeros(slots.index.shape, bool), scores)
