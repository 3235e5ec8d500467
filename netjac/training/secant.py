"""What a Gauss–Newton matrix leaves out, learned from the gradients of successive points.

The Hessian of ½ Σ u² is K = JᵀJ plus the second derivatives of the outputs, each times its own u. Where much of the loss must
stay, that sum is as large as K: steps by K alone give a fraction of the fall they promise, and damping keeps all of them short.
The gradient changes by y over a step s, so that the sum, Q, should send s to r = y − K s. Of the symmetric matrices that do,
the next Q is the one nearest to the last in a norm weighted by the Hessian itself (Dennis, Gay & Welsch, NL2SOL, ACM Trans.
Math. Softw. 7, 1981, sections 3 and 4), the last being shrunk first where it says more than r along s:

    Q ← Q min(1, |s·r| / |s·Q s|),   e = r − Q s,   Q ← Q + (e yᵀ + y eᵀ) / y·s − (e·s) y yᵀ / (y·s)²

K = diag(1, 1), Q = 0, s = (1, 0), y = (3, 0): r = e = (2, 0), and Q becomes diag(2, 0).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

MEMORY = 0.7
"""Weight of earlier tries beside the last one in the mean error of a forecast."""
LEAST = 1e-12
"""Cosine of the angle between a step and the change of the gradient below which one says nothing of the other."""
BETTER = 0.8
"""Share of the plain forecast's mean error below which the other is followed."""


def learned(Q: jax.Array, K: jax.Array, s: jax.Array, y: jax.Array) -> jax.Array:
    """The next Q, at the end of a step; the same where that says nothing."""
    r, along, slope = y - K @ s, s @ Q @ s, y @ s
    shrunk = Q * jnp.where(along == 0, 1.0, jnp.minimum(1.0, jnp.abs((s @ r) / along)))
    e = r - shrunk @ s
    mixed = jnp.outer(e, y) / slope
    found = shrunk + mixed + mixed.T - (e @ s) * jnp.outer(y, y) / slope**2
    tells = jnp.abs(slope) > LEAST * jnp.linalg.norm(y) * jnp.linalg.norm(s)
    return jnp.where(tells & jnp.all(jnp.isfinite(found)), found, Q)


class Forecasts:
    """Whether falls are foretold better with Q than without it: mean relative errors, the last tries' most of all.

    Q is followed only then. Where residuals are small it is noise, and took Mackey–Glass from 28 iterations to 52.
    """

    def __init__(self) -> None:
        self._plain = self._curved = 1.0

    @property
    def curved(self) -> bool:
        """Whether to follow Q."""
        return self._curved < BETTER * self._plain

    def compare(self, fall: float, plain: float, curved: float) -> None:
        """What a try brought, and what it promised without Q and with it."""
        self._plain = MEMORY * self._plain + (1 - MEMORY) * _error(fall, plain)
        self._curved = MEMORY * self._curved + (1 - MEMORY) * _error(fall, curved)


def _error(fall: float, promised: float) -> float:
    return min(1.0, abs(fall / promised - 1)) if promised > 0 else 1.0
