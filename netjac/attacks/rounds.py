"""The loop that attacks share: a few slots work at once, and a slot whose sample is done takes the next one.

Samples need from one step to dozens. A batch that runs until its last sample is done computes most steps for nothing; slots
that are filled again do not, and have one shape, so that one program is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from netjac.attacks.classifier import Scores
from netjac.precision import multiplied


class Moved(NamedTuple):
    """A step's outcome in every slot: the perturbed input `raw` (B, n) to be judged, where the next step starts from
    (`onward`), whether nothing moves any more (`stuck`), and the scores (B, classes) at the point that was left."""

    raw: jax.Array
    onward: jax.Array
    stuck: jax.Array
    scores: jax.Array


class Rule(Protocol):
    """One step of an attack. A frozen dataclass that JAX knows as a tree: what is in its `data_fields` may change without
    anything being compiled anew."""

    @property
    def steps(self) -> Any:
        """The most steps a sample takes."""

    @property
    def stops(self) -> bool:
        """Whether a sample that succeeds moves no further."""

    def move(self, view: View, slots: Slots, samples: Samples) -> Moved: ...


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "start", "goal", "low", "high"],
    meta_fields=["targeted", "bounded"],
)
@dataclass(frozen=True, eq=False)
class Samples:
    """N samples (N, n), what they start from where that is not x itself, the classes (N,) to leave or to reach, bounds (n)
    and whether any is finite."""

    x: Any
    start: Any
    goal: Any
    low: Any
    high: Any
    targeted: bool
    bounded: bool

    def clipped(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, self.low, self.high)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["index", "taken", "x", "at", "raw", "best", "margin", "goal"],
    meta_fields=[],
)
@dataclass(frozen=True, eq=False)
class Slots:
    """What B slots hold: a sample's number (N: none), steps taken, its input x, where it is (`at`, within bounds), the
    perturbed input `raw`, the best so far and its margin, and the class to leave or to reach."""

    index: jax.Array
    taken: jax.Array
    x: jax.Array
    at: jax.Array
    raw: jax.Array
    best: jax.Array
    margin: jax.Array
    goal: jax.Array


class State(NamedTuple):
    """The slots, the number of the sample that comes next, and what was found so far (N, n)."""

    slots: Slots
    upcoming: jax.Array
    found: jax.Array


@dataclass(frozen=True, eq=False)
class View:
    """The scores with the weights at hand, of inputs laid flat."""

    function: Scores
    weights: tuple[Any, ...]

    def scores(self, x: jax.Array) -> jax.Array:
        return self.function(self.weights, self._shaped(x))

    def rows(self, x: jax.Array, combined: jax.Array) -> jax.Array:
        return self.function.rows(self.weights, self._shaped(x), combined)

    def _shaped(self, x: jax.Array) -> jax.Array:
        return x.reshape((x.shape[0], *self.function.input_shape))


def margins(scores: jax.Array, goal: jax.Array, targeted: bool) -> jax.Array:
    """Above zero where the goal is reached by more than rounding: another class ahead of the label, the target of all."""
    own = jnp.take_along_axis(scores, goal[:, None], 1)[:, 0]
    ahead = others(scores, goal).max(-1) - own
    return (-ahead if targeted else ahead) - rounding(scores)


def rounding(scores: jax.Array) -> jax.Array:
    """By how much two scores must differ for another computation of them to put them in the same order."""
    return 4 * jnp.finfo(scores.dtype).eps * jnp.abs(scores).max(-1)


def others(scores: jax.Array, goal: jax.Array) -> jax.Array:
    """The scores with those of one class for each sample at −∞."""
    return jnp.where(jnp.arange(scores.shape[1]) == goal[:, None], -jnp.inf, scores)


def searched(scores: Scores, weights: tuple[Any, ...], rule: Rule, samples: Samples) -> jax.Array:
    """The best perturbed input of every sample, (N, n), unclipped."""

    def begin(samples: Samples) -> State:
        count = len(samples.x)
        index = jnp.minimum(jnp.arange(scores.samples), count)
        return State(_filled(samples, index), jnp.minimum(scores.samples, count), jnp.asarray(samples.x))

    def going(state: State) -> jax.Array:
        return jnp.any(state.slots.index < len(state.found))

    def advance(rule: Rule, weights: tuple[Any, ...], samples: Samples, state: State) -> State:
        slots, done = _judged(rule, View(scores, weights), samples, state.slots)
        return _refilled(samples, slots, done, state)

    def whole(rule: Rule, weights: tuple[Any, ...], samples: Samples) -> jax.Array:
        return jax.lax.while_loop(going, lambda state: advance(rule, weights, samples, state), begin(samples)).found

    if not scores.convolves:
        return _compiled(scores, "searched", whole)(rule, weights, samples)
    # Within a loop XLA runs convolutions by its slowest code on a CPU, many times slower than outside.
    state = _compiled(scores, "begin", begin)(samples)
    step = _compiled(scores, "advance", advance)
    while going(state):
        state = step(rule, weights, samples, state)
    return state.found


def once(scores: Scores, weights: tuple[Any, ...], rule: Rule, samples: Samples) -> jax.Array:
    """One step from every sample, (B, n), unclipped."""

    def step(rule: Rule, weights: tuple[Any, ...], samples: Samples) -> jax.Array:
        slots = _filled(samples, jnp.arange(len(samples.x)))
        return rule.move(View(scores, weights), slots, samples).raw

    return _compiled(scores, "once", step)(rule, weights, samples)


def _compiled(scores: Scores, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled, kept with the trace that it is of."""

    def run(*given: Any) -> Any:
        with multiplied(scores.precision):
            return function(*given)

    place: Hashable = ("attack", what, scores.value, scores.logarithms)
    return scores.traced.once(place, lambda: jax.jit(run))


def _filled(samples: Samples, index: jax.Array) -> Slots:
    """Slots that begin with these samples; the number N stands for none."""
    place = jnp.minimum(index, len(samples.x) - 1)
    x, worst = samples.x[place], jnp.full(index.shape, -jnp.inf, samples.x.dtype)
    return Slots(index, jnp.zeros(index.shape, jnp.int32), x, x, x, x, worst, samples.goal[place])


def _judged(rule: Rule, view: View, samples: Samples, slots: Slots) -> tuple[Slots, jax.Array]:
    """One step in every slot, and which are done. A sample that is where it should be from the start does not move."""
    moved = rule.move(view, slots, samples)
    before = margins(moved.scores, slots.goal, samples.targeted)
    after = margins(view.scores(samples.clipped(moved.raw)), slots.goal, samples.targeted)
    best, margin = slots.best, jnp.where(slots.taken == 0, before, slots.margin)
    there = (margin > 0) & rule.stops
    better = (after > margin) & ~there
    best = jnp.where(better[:, None], moved.raw, best)
    margin = jnp.where(better, after, margin)
    taken = slots.taken + 1
    done = ((margin > 0) & rule.stops) | moved.stuck | (taken >= rule.steps)
    held = Slots(slots.index, taken, slots.x, samples.clipped(moved.onward), moved.raw, best, margin, slots.goal)
    return held, done


def _refilled(samples: Samples, slots: Slots, done: jax.Array, state: State) -> State:
    """What is done written down, its slots given to the samples that come next."""
    count = len(samples.x)
    found = state.found.at[jnp.where(done, slots.index, count)].set(slots.best, mode="drop")
    free = done | (slots.index >= count)
    following = jnp.minimum(state.upcoming + jnp.cumsum(free) - 1, count).astype(slots.index.dtype)
    fresh = _filled(samples, jnp.where(free, following, slots.index))

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(free.reshape((-1, *(1,) * (new.ndim - 1))), new, old)

    upcoming = jnp.minimum(state.upcoming + jnp.sum(free), count).astype(state.upcoming.dtype)
    return State(jax.tree.map(chosen, fresh, slots), upcoming, found)
