"""The loop that attacks share: a few slots work at once, and a slot whose sample is done takes the next one.

Samples need from one step to dozens. A batch that runs until its last sample is done computes most steps for nothing; slots
that are filled again do not, and have one shape, so that one program is compiled.

A step may be judged where it arrives, by a forward pass of its own (`searched`), or by the pass that the next step makes there
anyway (`walked`). The second costs a pass less a step, and a gradient more a sample, whose last is never followed: it is for
attacks of many steps with one gradient each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

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
    data_fields=["x", "start", "goal", "low", "high", "count"],
    meta_fields=["targeted", "bounded"],
)
@dataclass(frozen=True, eq=False)
class Samples:
    """N samples (N, n), what they start from where that is not x itself, the classes (N,) to leave or to reach, bounds (n)
    and whether any is finite. The first `count` are meant; the rest fill a run up to its size."""

    x: Any
    start: Any
    goal: Any
    low: Any
    high: Any
    count: Any
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

    index: Any
    taken: Any
    x: Any
    at: Any
    raw: Any
    best: Any
    margin: Any
    goal: Any


class State(NamedTuple):
    """The slots, how many samples were given one, and what was found so far (N, n)."""

    slots: Slots
    upcoming: Any
    found: Any


class Queue(NamedTuple):
    """What every sample begins with, as if there were N slots, and the numbers of those that wait, in turn, (N + 1,): N
    after the last."""

    begins: Slots
    order: Any

    def taken(self, places: jax.Array) -> Slots:
        """The slots of these places in the queue; beyond its end they hold none."""
        count = len(self.begins.index)
        numbers = self.order[jnp.minimum(places, count)]
        held = jax.tree.map(lambda array: array[jnp.minimum(numbers, count - 1)], self.begins)
        return replace(held, index=numbers)

    def first(self, slots: int) -> State:
        """The state before the first step, in memory of its own, which the steps may write over."""
        upcoming = jnp.minimum(slots, len(self.begins.index))
        return State(self.taken(jnp.arange(slots)), upcoming, jnp.copy(self.begins.best))


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
    """The best perturbed input of every sample, (N, n), unclipped; each step judged where it arrives."""
    return looped(scores, "searched", _judged, weights, rule, samples, _queued(samples))


def _queued(samples: Samples) -> Queue:
    """All samples in their order."""
    numbers = np.arange(len(samples.x) + 1, dtype=np.int32)
    return Queue(at_rest(samples), np.where(numbers < samples.count, numbers, len(samples.x)).astype(np.int32))


Step = Callable[[Rule, View, Samples, Slots], tuple[Slots, jax.Array]]
"""One step in every slot, and which are done."""


def looped(
    scores: Scores, what: str, step: Step, weights: tuple[Any, ...], rule: Rule, samples: Samples, queue: Queue
) -> jax.Array:
    """The best perturbed input of every sample, (N, n), once all that wait have taken their steps. `what` names the step."""

    def going(state: State) -> jax.Array:
        return jnp.any(state.slots.index < len(state.found))

    def advance(rule: Rule, weights: tuple[Any, ...], samples: Samples, queue: Queue, state: State) -> State:
        slots, done = step(rule, View(scores, weights), samples, state.slots)
        return _refilled(queue, slots, done, state)

    def whole(rule: Rule, weights: tuple[Any, ...], samples: Samples, queue: Queue) -> jax.Array:
        first = queue.first(scores.samples)
        return jax.lax.while_loop(going, lambda state: advance(rule, weights, samples, queue, state), first).found

    if not scores.convolves:
        return compiled(scores, what, whole)(rule, weights, samples, queue)
    # Within a loop XLA runs convolutions by its slowest code on a CPU, ten times slower than outside.
    rule, weights, samples, queue = jax.device_put((rule, weights, samples, queue))
    state = compiled(scores, "first", lambda queue: queue.first(scores.samples))(queue)

    def advance_once(*given: Any) -> tuple[State, jax.Array]:
        state = advance(*given)
        return state, going(state)

    # The state is written over: what was found of all samples would be copied in every step.
    advanced, more = compiled(scores, f"{what}, one step", advance_once, over=4), True
    while more:
        state, more = advanced(rule, weights, samples, queue, state)
    return state.found


def once(scores: Scores, weights: tuple[Any, ...], rule: Rule, samples: Samples) -> jax.Array:
    """One step from every sample, (B, n), unclipped."""

    def step(rule: Rule, weights: tuple[Any, ...], samples: Samples) -> jax.Array:
        return rule.move(View(scores, weights), at_rest(samples), samples).raw

    return compiled(scores, "once", step)(rule, weights, samples)


def at_rest(samples: Samples) -> Slots:
    """A slot for each sample, where it is."""
    x, count = samples.x, len(samples.x)
    worst = np.full(count, -np.inf, x.dtype)
    return Slots(np.arange(count, dtype=np.int32), np.zeros(count, np.int32), x, x, x, x, worst, samples.goal)


def compiled(scores: Scores, what: str, function: Callable[..., Any], over: int | None = None) -> Callable[..., Any]:
    """The function compiled, kept for the kind of network; `over`: the argument whose memory the result may take."""

    def run(*given: Any) -> Any:
        with multiplied(scores.kind.precision):
            return function(*given)

    place: Hashable = ("attack", what, scores.value, scores.logarithms)
    return scores.kind.once(place, lambda: jax.jit(run, donate_argnums=() if over is None else (over,)))


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


def _refilled(queue: Queue, slots: Slots, done: jax.Array, state: State) -> State:
    """What is done written down, its slots given to the samples that come next."""
    count = len(state.found)
    found = state.found.at[jnp.where(done, slots.index, count)].set(slots.best, mode="drop")
    free = done | (slots.index >= count)
    fresh = queue.taken(state.upcoming + jnp.cumsum(free) - 1)

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(free.reshape((-1, *(1,) * (new.ndim - 1))), new, old)

    upcoming = jnp.minimum(state.upcoming + jnp.sum(free), count).astype(state.upcoming.dtype)
    # A slot that stays free keeps the last of the queue and is told apart by its number alone.
    return State(jax.tree.map(chosen, fresh, slots), upcoming, found)
