"""JAX's settings of precision and device: read, and changed only for the time of a call."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np


def is_wide() -> bool:
    """Whether 64-bit dtypes are enabled here and now."""
    return bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)


def precise(wide: bool) -> AbstractContextManager[Any]:
    """64-bit dtypes (or none) for the time of a call; the user's own setting stays as it is."""
    return jax.enable_x64(wide)


def matmul_precision() -> str | None:
    """The precision of matrix products that is in force here and now."""
    return jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]


def on_cpu() -> bool:
    """Whether computations go to the processor by default."""
    return jax.default_backend() == "cpu"
