"""Keras in float64, where it would fall back to float32.

On JAX and torch, Keras's type promotion takes every float64 for a float32; the products inside attention have their
softmax in float32 on JAX and TensorFlow; and Python numbers become `floatx`. Here none of that happens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

Change = tuple[dict[str, Any], str, Any]
"""A dictionary, a key that it has, and another value for it."""


@contextlib.contextmanager
def changed(changes: list[Change]) -> Iterator[None]:
    """The entries have their other values here, and their own again afterwards."""
    before = [(where, key, where[key]) for where, key, _ in changes]
    try:
        for where, key, value in changes:
            where[key] = value
        yield
    finally:
        for where, key, value in reversed(before):
            where[key] = value


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Keras keeps float64 here."""
    import keras
    from keras.src.backend import nn
    from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

    floatx = keras.config.floatx()
    functions = vars(nn)
    attention = _exact(functions["dot_product_attention"])
    with changed([(BIT64_TO_BIT32_DTYPE, "float64", "float64"), (functions, "dot_product_attention", attention)]):
        keras.config.set_floatx("float64")
        try:
            yield
        finally:
            keras.config.set_floatx(floatx)


def _exact(own: Any) -> Any:
    """Attention in the dtype of its arguments; what is not spelled out here goes to Keras's `own`."""

    def attention(
        query: Any,
        key: Any,
        value: Any,
        bias: Any = None,
        mask: Any = None,
        scale: float | None = None,
        is_causal: bool = False,
        **rest: Any,
    ) -> Any:
        if rest.get("attn_logits_soft_cap") is not None or query.shape[2] != key.shape[2]:
            return own(query, key, value, bias, mask, scale, is_causal, **rest)
        from keras import ops

        scores = ops.einsum("btnh,bsnh->bnts", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if bias is not None:
            scores = scores + bias
        allowed = None if mask is None else ops.cast(mask, "bool")
        if is_causal:
            rows = ops.arange(ops.shape(query)[1])[:, None]
            columns = ops.arange(ops.shape(key)[1])[None, :]
            allowed = rows >= columns if allowed is None else ops.logical_and(allowed, rows >= columns)
        if allowed is not None:
            # As Keras does it: so low that nothing is left after softmax, yet finite where all of a row is masked.
            scores = ops.where(allowed, scores, -1e300)
        return ops.einsum("bnts,bsnh->btnh", ops.softmax(scores, axis=-1), value)

    return attention
