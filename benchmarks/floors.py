"""How fast it could go: a machine's rates, measured in a process of its own, and the time that no method gets under.

The floor of a Jacobian is the larger of the plan's operations over the rate of matrix products and the result's bytes over
the rate at which fresh memory is written. The forward pass is not in it, nor anything between the products.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SIDE = 1024
TRIALS = 15


def rates(size: int) -> dict[str, float]:
    """Operations a second of a 1024 × 1024 × 1024 product in float32, bytes a second of filling `size` bytes: the best of
    several. Small results are written faster, into memory that the process has had before."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((SIDE, SIDE))
    product = jax.jit(lambda a, b: a @ b)
    filled = jax.jit(lambda value: jnp.full((max(size // 4, 1),), value))
    return {
        "product": 2 * SIDE**3 / _best(lambda: jax.block_until_ready(product(matrix, matrix))),
        "writing": size / _best(lambda: jax.block_until_ready(filled(1.5))),
    }


def floor(predicted: dict[str, Any], rates: dict[str, float]) -> float:
    """Seconds."""
    return max(predicted["operations"] / rates["product"], predicted["bytes"] / rates["writing"])


def _best(call: Callable[[], Any]) -> float:
    call()
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
