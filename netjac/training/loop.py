"""The iterations of a fit: a linear system at each point, tries until one lowers the loss, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from netjac.errors import NonFiniteError, ShapeError
from netjac.precision import precise
from netjac.progress import Progress, counted
from netjac.training.damping import Strategy
from netjac.training.problem import Part, Problem
from netjac.training.result import Fit, Try, by_name
from netjac.training.step import Attempt, Before, System


@dataclass(frozen=True)
class Limits:
    """When a fit ends: see `netjac.fit`. Raises `ShapeError`."""

    iterations: int
    seconds: float | None
    target: float | None
    tolerance: float | None
    patience: int

    def __post_init__(self) -> None:
        for name, value in (("max_iterations", self.iterations), ("patience", self.patience)):
            if value < 1:
                raise ShapeError(f"{name}={value} leaves nothing to do; give a positive number")
        for name, bound in (("max_seconds", self.seconds), ("tolerance", self.tolerance)):
            if bound is not None and not bound >= 0:
                raise ShapeError(f"{name}={bound} is no bound; give a number from 0 on")


class Descent:
    """One fit: where it is, and what it has tried."""

    def __init__(
        self,
        problem: Problem,
        strategy: Strategy,
        kind: type[System],
        limits: Limits,
        scaled: bool,
        acceleration: bool,
        batch: int | None,
        seed: int,
        validation: Part | None,
        progress: Progress,
    ) -> None:
        self._problem, self._strategy, self._kind, self._limits = problem, strategy, kind, limits
        self._scaled, self._acceleration, self._validation, self._progress = scaled, acceleration, validation, progress
        self._batch, self._generator = batch, np.random.default_rng(seed)
        self._tolerance = limits.tolerance if limits.tolerance is not None else (1e-10 if problem.wide else 1e-6)
        self._theta = problem.theta
        self._before: Before | None = None
        self._best = (np.inf, problem.theta, 0)
        self._history: list[Try] = []
        self._converged = False

    def fit(self, method: str) -> Fit:
        """Descend, and tell of it."""
        self._start, problem = time.perf_counter(), self._problem
        initial = self._told(whole := problem.part(), self._finite(whole.value(self._theta)))
        self._reached = self._limits.target is not None and initial <= self._limits.target
        stopped = "the loss was at its target from the start" if self._reached else self._descended(whole)
        theta = self._theta if self._validation is None else self._best[1]
        return Fit(
            by_name(np.asarray(theta), problem.sizes.shapes, problem.sizes.columns),
            self._told(whole, whole.value(theta)), initial, tuple(self._history), stopped, self._converged,
            problem.network.name, method, problem.loss.name, self._kind.form, time.perf_counter() - self._start,
        )  # fmt: skip

    def _descended(self, whole: Part) -> str:
        """Step until something says to stop; what it was."""
        most = self._limits.iterations
        with precise(True):
            self._theta = self._kind.start(whole, self._theta)
        if self._validation is not None:
            self._best = (self._validation.value(self._theta), self._theta, 0)
        try:
            for number in counted(range(1, most + 1), most, self._progress, "fitting"):
                part = whole if self._batch is None else next(self._batches)
                with precise(True):
                    stopped = self._iterated(number, part) or self._full(number, part, whole)
                if stopped is not None:
                    return stopped
        except KeyboardInterrupt:
            return "interrupted; what was found until then is kept"
        return f"max_iterations={most}"

    @property
    def _batches(self) -> Iterator[Part]:
        """Batches for ever: the samples in a new order each time they have all been seen."""
        if not hasattr(self, "_drawn"):
            self._drawn = self._draw()
        return self._drawn

    def _draw(self) -> Iterator[Part]:
        assert self._batch is not None
        count = self._problem.samples.count
        while True:
            order = self._generator.permutation(count)
            for start in range(0, count - self._batch + 1, self._batch):
                yield self._problem.part(np.sort(order[start : start + self._batch]))

    def _iterated(self, number: int, part: Part) -> str | None:
        """One system, and tries until one is accepted."""
        system = self._kind(part, self._theta, self._before, self._scaled)
        self._before = system.handed
        gradient = self._told(part, system.gradient)
        if gradient == 0:
            self._converged = True
            return "the gradient is zero"
        while True:
            proposal = self._strategy.proposal
            step = system.attempt(proposal, self._acceleration)
            fall = system.value - step.value
            if np.isfinite(fall):
                self._strategy.compared(fall, *step.forecasts)
            accepted = fall > 0
            if accepted:
                self._theta = step.theta
                self._strategy.accepted(fall / max(step.promised, np.finfo(np.float64).tiny))
            else:
                self._strategy.rejected()
            validation = self._validated(number) if accepted else None
            told = self._told(part, step.value)
            self._history.append(Try(number, told, proposal.damping, gradient, self._elapsed(), accepted, validation))
            stopped = self._stopping(number, step, accepted)
            if accepted or stopped is not None:
                return stopped

    def _validated(self, number: int) -> float | None:
        if self._validation is None:
            return None
        value = self._validation.value(self._theta)
        if value < self._best[0]:
            self._best = (value, self._theta, number)
        return self._told(self._validation, value)

    def _stopping(self, number: int, step: Attempt, accepted: bool) -> str | None:
        limits = self._limits
        if limits.seconds is not None and self._elapsed() >= limits.seconds:
            return f"max_seconds={limits.seconds}"
        if self._validation is not None and number - self._best[2] >= limits.patience:
            return f"the validation loss has not improved for {limits.patience} iterations"
        if self._batch is not None:
            return None if accepted or not self._strategy.exhausted else "no step lowers the loss of a batch"
        if limits.target is not None and accepted and self._history[-1].loss <= limits.target:
            return f"the loss reached its target {limits.target:g}"
        short = step.distance <= self._tolerance and not (accepted and step.held_back)
        if short or (not accepted and self._strategy.exhausted):
            self._converged = True
            return f"steps change the parameters by less than {self._tolerance:g}"
        return None

    def _full(self, number: int, part: Part, whole: Part) -> str | None:
        """With batches, whether the loss of all samples has reached its target, looked at once for each time round."""
        target = self._limits.target
        if self._batch is None or target is None or number % max(1, whole.count // self._batch):
            return None
        reached = self._told(whole, whole.value(self._theta)) <= target
        return f"the loss reached its target {target:g}" if reached else None

    def _told(self, part: Part, total: float) -> float:
        return self._problem.told(total, part.count)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._start

    def _finite(self, value: float) -> float:
        if not np.isfinite(value):
            raise NonFiniteError(
                f"the loss of {self._problem.network.name!r} is {value} at the start; look for NaN or infinity in X, in the "
                "parameters, or in what the network makes of them"
            )
        return value
