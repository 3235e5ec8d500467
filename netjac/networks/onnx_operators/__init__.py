"""ONNX operators as JAX functions: one file per family, and the interpreter of a graph.

Each rule takes the node, for its attributes and opset, and the node's inputs. Where an operator means what one of torch's
means, the rule is torch's (`netjac.networks.aten`), with torch's derivatives at kinks and ties. An operator without a rule is
expanded into others where ONNX itself defines it so.
"""

from netjac.networks.onnx_operators import (
    activation,
    arithmetic,
    classic,
    convolution,
    indexing,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    resizing,
    sampling,
    shape,
)
from netjac.networks.onnx_operators.registry import RULES

__all__ = [
    "RULES",
    "activation",
    "arithmetic",
    "classic",
    "convolution",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "resizing",
    "sampling",
    "shape",
]
