"""JAX's settings of precision and device: read, and changed only for the time of a call."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp


def is_wide() -> bool:
    """Whether 64-bit dtypes are enabled here and now."""
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def precise(wide: bool) -> AbstractContextManager[Any]:
    """64-bit dtypes (or none) for the time of a call; the user's own setting stays as it is."""
    return nullcontext() if is_wide() == wide else jax.enable_x64(wide)


def as_held(spec: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """In the dtype that JAX holds it in here and now: without 64-bit dtypes tokens of int64 are int32."""
    return jax.ShapeDtypeStruct(spec.shape, jax.dtypes.canonicalize_dtype(spec.dtype))


def multiplied(precision: str | None) -> AbstractContextManager[Any]:
    """Matrix products at a precision, for as long as something is traced; what is traced keeps it."""
    return jax.default_matmul_precision(precision)


def on_cpu() -> bool:
    """Whether computations go to the processor by default."""
    return jax.default_backend() == "cpu"


def dtype_in(own: Any, dtype: Any) -> Any:
    """The dtype that numbers of dtype `own` have in a computation in `dtype`; complex ones are as fine as the real ones."""
    if dtype is None or not jnp.issubdtype(own, jnp.inexact):
        return own
    if jnp.issubdtype(own, jnp.complexfloating):
        return jnp.dtype("complex128" if dtype.itemsize == 8 else "complex64")
    return dtype
