"""Primitive → structured local Jacobian: one file per family of primitives."""

from netjac.rules import contraction, convolution, elementwise, pooling, propagation, shape, ties
from netjac.rules.local import Explicit, Local, Opaque, linearise

__all__ = [
    "Explicit",
    "Local",
    "Opaque",
    "contraction",
    "convolution",
    "elementwise",
    "linearise",
    "pooling",
    "propagation",
    "shape",
    "ties",
]
