"""ATen operations as JAX functions: one file per family, and the interpreter of an exported graph.

Each rule takes what the ATen operation takes, with JAX arrays for tensors, and follows torch's conventions for
derivatives (at kinks and ties too). An operation without a rule here is decomposed by torch into simpler ones first.
"""

from netjac.networks.aten import (
    activation,
    arithmetic,
    attention,
    convolution,
    factorisation,
    fourier,
    indexing,
    linear,
    normalization,
    ordering,
    pooling,
    recurrent,
    reduction,
    resizing,
    sampling,
    shape,
)
from netjac.networks.aten.registry import RULES

__all__ = [
    "RULES",
    "activation",
    "arithmetic",
    "attention",
    "convolution",
    "factorisation",
    "fourier",
    "indexing",
    "linear",
    "normalization",
    "ordering",
    "pooling",
    "recurrent",
    "reduction",
    "resizing",
    "sampling",
    "shape",
]
