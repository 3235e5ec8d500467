"""The fast gradient sign method: one step of length ε against the gradient of the loss.

Goodfellow, Shlens, Szegedy, Explaining and harnessing adversarial examples (ICLR 2015), section 4. In L2 the step is along the
gradient itself, of length ε.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.attacks.given import Bounds, given
from netjac.attacks.norms import INF, steepest, understood
from netjac.attacks.result import Attack
from netjac.attacks.rounds import Moved, Samples, Slots, View, once, others
from netjac.attacks.search import How, attacked
from netjac.errors import RangeError
from netjac.progress import Progress


def fgsm(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    epsilon: float,
    norm: int | float | str = INF,
    bounds: Bounds = None,
    targets: Any = None,
    of: str | None = None,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Attack:
    """x + ε · sign ∇ₓ cross-entropy(model(x), y) for each sample; with `targets`, x − ε · sign of that of the target.

    `X` (N, *in) with the samples along axis 0, in any framework; `y` (N,) the classes to be left, the model's own where None;
    `targets` (N,) or one number: the classes to be reached. `norm`: inf or 2. `bounds`: (low, high), numbers or arrays (*in)
    to which `adversarial` is clipped, or None: nothing is assumed. `of`: the scores' name where it is not the only output;
    logits are looked up behind a softmax. `precision`, `memory`, `progress` as in `netjac.jacobian`.

    The direction is that of the gradient where that is too small for its numbers, too; where it is zero, nothing moves.

    Raises `RangeError` for an input outside `bounds`, a label that is no class and ε that is no positive number,
    `ShapeError` for shapes and models that are no classifiers, `NonFiniteError`, and what the front end refuses.
    """
    length = positive("epsilon", epsilon)
    order = understood(norm)
    how = How("FGSM", order, length, of, precision, memory, progress, in_step=True, run=once)
    return attacked(model, given(X, y, targets, bounds), Fgsm(length, order), how)


@partial(jax.tree_util.register_dataclass, data_fields=["epsilon", "steps"], meta_fields=["norm", "stops"])
@dataclass(frozen=True)
class Fgsm:
    """The single step, as a `netjac.attacks.rounds.Rule`."""

    epsilon: float
    norm: float
    steps: int = 1
    stops: bool = False

    def move(self, view: View, slots: Slots, samples: Samples) -> Moved:
        scores = view.scores(slots.at)
        raw = slots.at + self.epsilon * steepest(ascent(view, slots, scores, samples.targeted), self.norm)
        return Moved(raw, raw, jnp.zeros(slots.index.shape, bool), scores)


def ascent(view: View, slots: Slots, scores: jax.Array, targeted: bool) -> jax.Array:
    """A positive multiple of ±∇ₓ cross-entropy, (B, n): away from the label, or towards the target.

    −∇ log p_c = Σ_k p_k (∇s_k − ∇s_c) = (1 − p_c) Σ_{k≠c} q_k (∇s_k − ∇s_c), q the softmax of the other classes. Without the
    factor 1 − p_c, which rounds to zero for a sure network, the direction is the same and never vanishes.
    """
    own = jax.nn.one_hot(slots.goal, scores.shape[1], dtype=scores.dtype)
    away = jax.nn.softmax(others(scores, slots.goal), -1) - own
    return view.rows(slots.at, (-away if targeted else away)[:, None])[:, 0]


def positive(name: str, value: float) -> float:
    """Raises `RangeError` for what is no positive, finite number."""
    if np.ndim(value) or (not isinstance(value, int | float) and not hasattr(value, "__float__")):
        raise RangeError(f"{name}={value!r} is no number; give a positive one, in the units of X")
    if not 0 < float(value) < INF:
        raise RangeError(f"{name}={value!r} is not positive and finite; give a size in the units of X")
    return float(value)


def whole(name: str, value: int, least: int = 1) -> int:
    """Raises `RangeError` for what is no whole number of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or np.ndim(value) or operator.index(value) < least:
        raise RangeError(f"{name}={value!r} is no whole number of {least} or more")
    return operator.index(value)
