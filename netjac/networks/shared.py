"""torch's tensors as JAX arrays that lie in the same memory, made once and found again.

To wrap a tensor costs some 50 µs, as much as a small layer. An array that lies where the tensor lies shows whatever is written
there, by an optimiser, by `load_state_dict` or past torch's count of versions by `.data`, so its numbers are never old as long
as its address is the tensor's. A tensor that was given other memory is wrapped anew; one that had to be copied, every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import torch
from torch.utils.weak import WeakIdKeyDictionary

from netjac.networks.arrays import to_jax
from netjac.precision import is_wide


@dataclass(frozen=True, eq=False)
class _Wrapped:
    """`facts`: where and how the tensor lay when it was wrapped."""

    facts: tuple[Any, ...]
    array: jax.Array


_WRAPPED: WeakIdKeyDictionary = WeakIdKeyDictionary()


def shared(tensor: torch.Tensor) -> jax.Array:
    """The tensor as a JAX array with the numbers it has now."""
    address = tensor.data_ptr()
    facts = (address, tensor.shape, tensor.stride(), tensor.dtype, is_wide())
    found = _WRAPPED.get(tensor)
    if found is not None and found.facts == facts:
        return found.array
    array = to_jax(tensor)
    if tensor.device.type == "cpu" and tensor.numel() and array.unsafe_buffer_pointer() == address:
        _WRAPPED[tensor] = _Wrapped(facts, array)
    return array
