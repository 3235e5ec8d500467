"""From what the caller gave to what is handed back: run by run of samples, every answer verified by the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from netjac.attacks.classifier import Classifier, classifier
from netjac.attacks.given import Given, refuse_classes
from netjac.attacks.norms import drawn, lengths
from netjac.attacks.result import Attack
from netjac.attacks.rounds import Rule, Samples, searched
from netjac.errors import NonFiniteError
from netjac.memory import budget
from netjac.networks import Network, network_of
from netjac.networks.arrays import like
from netjac.pieces import ALWAYS_FITS
from netjac.precision import precise
from netjac.progress import Progress, tracked

LEAST_SLOTS, MOST_SLOTS = 64, 512
MOST_IN_STEP = 1024
MOST_TOGETHER = 2**14
SHARE_OF_MEMORY = 0.25


@dataclass(frozen=True)
class How:
    """How an attack's result is named and measured, and how its work is cut.

    `of`, `precision`, `memory`, `progress` as in `netjac.jacobian`. `in_step`: all samples take the same number of steps, so
    that slots would gain nothing. `radius`: starts are drawn from the ball of that size, by `seed`. `rows`: how many rows of
    U·J the rule asks for (see `classifier`). `run`: the loop that takes the rule's steps.
    """

    name: str
    norm: float
    epsilon: float | None = None
    of: str | None = None
    precision: str = "highest"
    memory: int | float | str | None = None
    progress: Progress = None
    in_step: bool = False
    radius: float = 0.0
    seed: int = 0
    rows: int = 1
    run: Callable[..., Any] = searched


def attacked(model: Any, given: Given, rule: Rule, how: How) -> Attack:
    """The attack on all samples. Raises what `netjac.jacobian` does, `RangeError` for classes and `NonFiniteError`."""
    met, together = _met(network_of(model), given, how)
    raw = np.empty(given.samples.shape, given.low.dtype)
    adversarial = np.empty_like(raw)
    labels, predicted = np.empty(given.count, np.int32), np.empty(given.count, np.int32)
    generator = np.random.default_rng(how.seed)
    for start in tracked(range(0, given.count, together), how.progress, how.name):
        run = slice(start, min(start + together, given.count))
        x = given.run(run.start, run.stop)
        labels[run] = met.decide(x) if given.labels is None else given.labels[run]
        goal = labels[run] if given.targets is None else given.targets[run]
        begin = x + drawn(x.shape, how.radius, how.norm, generator).astype(x.dtype) if how.radius else None
        raw[run] = _searched(met, given, rule, how, x, begin, goal, together)
        _refuse_non_finite(raw[run], start)
        adversarial[run] = given.clipped(raw[run])
        predicted[run] = met.decide(adversarial[run])
    return _result(given, how, raw, adversarial, labels, predicted)


def _searched(
    met: Classifier,
    given: Given,
    rule: Rule,
    how: How,
    x: np.ndarray,
    begin: np.ndarray | None,
    goal: np.ndarray,
    together: int,
) -> np.ndarray:
    """One run of samples, filled up to the size that all runs share."""

    def flat(array: np.ndarray) -> np.ndarray:
        return _padded(array, together).reshape((together, -1))

    samples = Samples(
        flat(x),
        None if begin is None else flat(begin),
        _padded(goal, together),
        given.low.reshape(-1),
        given.high.reshape(-1),
        np.int32(len(x)),
        given.targets is not None,
        bool(np.isfinite(given.low).any() or np.isfinite(given.high).any()),
    )
    with precise(met.point.wide):
        return np.asarray(how.run(met.scores, met.weights, rule, samples))[: len(x)].reshape(x.shape)


def _met(network: Network, given: Given, how: How) -> tuple[Classifier, int]:
    """The network met at as many samples as are worked on at once, and how many make one run."""
    count = given.count
    wished = MOST_IN_STEP if how.in_step else min(max(_power_of_two(count // 4), LEAST_SLOTS), MOST_SLOTS)
    slots = min(count, wished)
    met = classifier(network, given.run(0, slots), how.of, how.precision)
    refuse_classes(given, met.scores.classes)
    own = 8 * max(1, given.low.size) * given.low.itemsize
    needed = int(met.scores.memory(how.rows) * slots + own * count)
    room = needed if how.memory is None and needed <= ALWAYS_FITS else SHARE_OF_MEMORY * budget(how.memory)
    fitting = max(1, int(room / met.scores.memory(how.rows)))
    if fitting < slots:
        slots = fitting
        met = classifier(network, given.run(0, slots), how.of, how.precision)
    met = replace(met, together=min(MOST_IN_STEP, int(room / met.scores.memory(0))))
    if how.in_step:
        return met, slots
    together = max(slots, min(count, MOST_TOGETHER, int(room / own)))
    return met, -(-together // slots) * slots


def _power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def _padded(array: np.ndarray, count: int) -> np.ndarray:
    """As many entries as asked for, the last repeated."""
    missing = count - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, 0)])


def _refuse_non_finite(raw: np.ndarray, start: int) -> None:
    wrong = ~np.isfinite(raw.reshape((len(raw), -1))).all(1)
    if wrong.any():
        raise NonFiniteError(
            f"the network's gradient at sample {start + int(np.argmax(wrong))} or near it is not finite ({int(wrong.sum())} "
            "samples); netjac.jacobian shows where, float64 may help"
        )


def _result(
    given: Given, how: How, raw: np.ndarray, adversarial: np.ndarray, labels: np.ndarray, predicted: np.ndarray
) -> Attack:
    distance, size = np.empty(given.count), np.empty(given.count)
    for start in range(0, given.count, MOST_TOGETHER):
        run = slice(start, min(start + MOST_TOGETHER, given.count))
        x = given.run(run.start, run.stop)
        distance[run], size[run] = lengths(adversarial[run].astype(np.float64) - x, how.norm), lengths(x, how.norm)
    success = predicted != labels if given.targets is None else predicted == given.targets
    if how.epsilon is not None:
        # A change of ε is one of ε only up to the rounding of x + ε, which grows with x.
        success &= distance <= how.epsilon + float(jnp.finfo(raw.dtype).eps) * (16 * how.epsilon + size)
    raw, adversarial, success, distance, labels, predicted = (
        like(array, given.samples) for array in (raw, adversarial, success, distance, labels, predicted)
    )
    targeted = given.targets is not None
    return Attack(raw, adversarial, success, distance, labels, predicted, how.name, how.norm, how.epsilon, targeted)
