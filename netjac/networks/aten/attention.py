"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten.registry import op


@op("scaled_dot_product_attention")
def attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(QKᵀ·scale + mask) V over the last two axes; a boolean mask says where to look, and who looks nowhere gets 0."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = jnp.repeat(key, repeats, -3), jnp.repeat(value, repeats, -3)
    scores = query @ jnp.swapaxes(key, -1, -2) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is not None and mask.dtype == bool:
        scores = jnp.where(mask, scores, -jnp.inf)
    elif mask is not None:
        scores = scores + mask
    nowhere = jnp.all(scores == -jnp.inf, -1, keepdims=True)
    weights = jax.nn.softmax(jnp.where(nowhere, 0, scores), -1)
    return jnp.where(nowhere, 0, weights) @ value


for _name in (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
):
    op(_name)(
        lambda q, k, v, dropout=0.0, is_causal=False, attn_mask=None, scale=None, **_: (
            attention(q, k, v, attn_mask, 0.0, is_causal, scale),
            None,
        )
    )
