"""Named points: values inside a network that can be asked for by name.

A point is an identity with a name in the traced program. Front ends mark every layer's output with one. It is
JAX's own `checkpoint_name`, so a JAX function whose author already names values for rematerialisation, or who
writes `h = netjac.mark(h, "hidden")`, has layers too.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

PRIMITIVE = "name"


def mark(value: Any, name: str) -> Any:
    """`value` itself, known as `name` from here on.

    A tree of arrays is marked leaf by leaf: the first keeps `name`, the next are `name.1`, `name.2`, … A name
    that is marked again later in the network (a layer called twice) is known there as `name#2`.
    """
    leaves, tree = jax.tree_util.tree_flatten(value)
    named = [checkpoint_name(leaf, name if i == 0 else f"{name}.{i}") for i, leaf in enumerate(leaves)]
    return jax.tree_util.tree_unflatten(tree, named)
