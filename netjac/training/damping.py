"""How far to go: the damping of each try, and what its success says about the next.

Both strategies make a `Proposal`: the step solves (JᵀHJ + damping · D) δ = −g and is taken times `length`. `gain` is the loss's
actual fall over the one that the quadratic model promised.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

from netjac.training.secant import Forecasts

STEEPEST = 1e12
"""Damping beyond which a step is too short to be told from none."""


@dataclass(frozen=True)
class Proposal:
    """One try's damping and length; `curved`, with what JᵀHJ leaves out where the system has learned it
    (`netjac.training.secant`)."""

    damping: float
    length: float = 1.0
    curved: bool = False


class Strategy(abc.ABC):
    """Keeps what the next try depends on."""

    @property
    @abc.abstractmethod
    def proposal(self) -> Proposal:
        """What to try next."""

    @abc.abstractmethod
    def compared(self, fall: float, plain: float, curved: float) -> None:
        """A try changed the loss by −`fall`, and by JᵀHJ or with what it leaves out should have by as much."""

    @abc.abstractmethod
    def accepted(self, gain: float) -> None:
        """The try lowered the loss by `gain` times what was predicted."""

    @abc.abstractmethod
    def rejected(self) -> None:
        """The try did not lower the loss."""

    @property
    @abc.abstractmethod
    def exhausted(self) -> bool:
        """No shorter step is worth a try."""


class Nielsen(Strategy):
    """Levenberg–Marquardt with Nielsen's update: the damping falls by up to 3 with the gain, and rises 2-, 4-, 8-fold in a row.

    Nielsen, Damping parameter in Marquardt's method, IMM-REP-1999-05, Technical University of Denmark, section 2.
    """

    def __init__(self, damping: float, least: float) -> None:
        self._damping, self._least, self._growth = damping, least, 2.0
        self._forecasts = Forecasts()

    @property
    def proposal(self) -> Proposal:
        return Proposal(self._damping, curved=self._forecasts.curved)

    def compared(self, fall: float, plain: float, curved: float) -> None:
        self._forecasts.compare(fall, plain, curved)

    def accepted(self, gain: float) -> None:
        self._damping = max(self._damping * max(1 / 3, 1 - (2 * min(gain, 1.0) - 1) ** 3), self._least)
        self._growth = 2.0

    def rejected(self) -> None:
        self._damping *= self._growth
        self._growth *= 2

    @property
    def exhausted(self) -> bool:
        return self._damping > STEEPEST


class Halving(Strategy):
    """Gauss–Newton: full steps, damped by rounding alone, halved until the loss falls (Nocedal & Wright 2006, section 10.3)."""

    def __init__(self, least: float) -> None:
        self._least, self._length = least, 1.0

    @property
    def proposal(self) -> Proposal:
        return Proposal(self._least, self._length)

    def compared(self, fall: float, plain: float, curved: float) -> None:
        """Its steps are JᵀHJ's alone."""

    def accepted(self, gain: float) -> None:
        self._length = 1.0

    def rejected(self) -> None:
        self._length /= 2

    @property
    def exhausted(self) -> bool:
        return self._length < 1e-12
