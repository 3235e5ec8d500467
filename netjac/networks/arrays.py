"""Arrays in from any framework and back again, without a copy where DLPack allows.

Frameworks are recognised by the module an array's class comes from, so that none is imported on the user's behalf.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import MissingExtraError, NotDifferentiableError, ShapeError
from netjac.precision import is_wide, precise


def framework_of(array: Any) -> str:
    """ "torch", "tensorflow", "jax" or "numpy" (which stands for lists and numbers too)."""
    root = type(array).__module__.partition(".")[0]
    if root in ("torch", "tensorflow"):
        return root
    if root == "keras" and hasattr(array, "value"):
        return framework_of(array.value)
    return "jax" if isinstance(array, jax.Array) else "numpy"


def to_numpy(array: Any) -> np.ndarray:
    """The array's values in main memory; bfloat16 stays bfloat16 (as ml_dtypes gives it)."""
    framework = framework_of(array)
    if framework == "torch":
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            return array.float().numpy().astype(jnp.bfloat16)
        return array.numpy()
    if framework == "tensorflow" or hasattr(array, "numpy"):
        return np.asarray(array.numpy())
    try:
        result = np.asarray(array)
    except ValueError as error:
        raise ShapeError(
            f"a list whose rows differ in length is no array ({str(error).partition('. ')[0]}); pad the rows to one length, "
            "or give several inputs as a tuple of arrays"
        ) from error
    if result.dtype == object or result.dtype.kind in "USMm":
        raise NotDifferentiableError(
            f"an array of {result.dtype} holds no numbers; convert it to a numeric dtype first"
        )
    return result


def to_jax(array: Any) -> jax.Array:
    """A JAX array of the same dtype, sharing memory where it can. 64-bit dtypes need x64 enabled by the caller."""
    if isinstance(array, jax.Array):
        return array
    if framework_of(array) == "torch":
        array = array.detach()
        if array.is_contiguous() and array.dtype.is_floating_point:
            return jax.dlpack.from_dlpack(array)
    return jnp.asarray(to_numpy(array))


def like(array: jax.Array | np.ndarray, reference: Any) -> Any:
    """`array` in the framework of `reference`, on its device."""
    framework = framework_of(reference)
    if framework == "jax":
        return _held(array)
    if framework == "torch":
        if isinstance(array, np.ndarray) and array.dtype != jnp.bfloat16:
            return sys.modules["torch"].from_numpy(np.array(array)).to(reference.device)
        return to_torch(_held(array)).to(reference.device)
    if framework == "tensorflow":
        return sys.modules["tensorflow"].convert_to_tensor(np.asarray(array))
    return np.asarray(array)


def _held(array: jax.Array | np.ndarray) -> jax.Array:
    """By JAX, in the array's own dtype, be the user's x64 flag what it may."""
    with precise(is_wide() or array.dtype.itemsize == 8):
        return jnp.asarray(array)


def to_torch(array: jax.Array) -> Any:
    """A torch tensor sharing the array's memory."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError.of("torch", "torch", "a torch tensor as the result") from None
    return torch.from_dlpack(array)
