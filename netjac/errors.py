"""Everything netjac can refuse, as one family of errors.

Each message names the layer or argument at fault, says what was wrong with it, and ends with the way out.
Nothing here is raised half-way through a change: a refused call leaves model, data and files as they were.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetjacError(Exception):
    """The base of every error netjac raises on purpose."""


class UnsupportedOperationError(NetjacError):
    """The network uses an operation that its front end has no rule for."""


class ShapeError(NetjacError, ValueError):
    """An array's shape or structure is not what the network takes."""


class RangeError(NetjacError, ValueError):
    """A number lies outside the range that it must be in: an input outside its bounds, a label that is no class."""


class UnknownNameError(NetjacError, LookupError):
    """A layer, input, output or parameter of that name does not exist."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """The error for `name` among the `known` names, with those that look like it."""
        known = list(dict.fromkeys(known))
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {_listed(known)}."
        return cls(f"no {kind} is called {name!r}. {hint}")


class NotDifferentiableError(NetjacError, TypeError):
    """What was asked for has no derivative: integer inputs, argmax heads."""


class TooLargeError(NetjacError, MemoryError):
    """The answer, or the smallest piece of it, does not fit in the memory budget."""


class ModelLoadError(NetjacError):
    """A model file is missing, corrupt or not to be trusted, or a model object is of no known kind."""


class StoreError(NetjacError, OSError):
    """A store cannot be read or written, or holds what was computed from another network or other data."""


class MissingExtraError(NetjacError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtraError:
        return cls(f"{purpose} needs {package}, which is not installed. Install it with: pip install 'netjac[{extra}]'")


class NonFiniteError(NetjacError, ArithmeticError):
    """An input, a parameter or a result holds NaN or infinity."""


class ChangedError(NetjacError):
    """The weights or the input of a lazy Jacobian were written in place before its numbers were asked for."""

    @classmethod
    def of(cls, name: str, whose: str) -> ChangedError:
        return cls(
            f"{name!r} of {whose!r} was written in place after this Jacobian was asked for, and what it was is gone. Ask for a "
            "new one, netjac.jacobian(model, x); or read this one before such a change, np.asarray(J)"
        )


class StochasticNetworkError(NetjacError):
    """A layer draws random numbers (dropout in training mode), so the network has no single Jacobian."""


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "") if names else "none"
