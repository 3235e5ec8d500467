"""Triton beside TensorFlow: loaded second, it ends the process.

At its first use torch.export loads TorchDynamo and TorchInductor, and they Triton where it is installed, as it is with
torch's packages for CUDA. With TensorFlow there already, Triton's library then dies of a segmentation fault:
`import tensorflow, triton` is enough (TensorFlow 2.21, Triton 3.7). Nothing that export does needs it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_triton() -> Iterator[None]:
    """Triton counts as not installed, where it cannot be loaded any more."""
    modules: dict[str, Any] = sys.modules
    if "tensorflow" not in modules or "triton" in modules:
        yield
        return
    modules["triton"] = None
    try:
        yield
    finally:
        del modules["triton"]
