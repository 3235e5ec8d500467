"""The modes that torch is in while netjac runs or traces a module, and is left in as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Gradients on, and what the caller may be in off: inference mode, and autocast, which would go into the trace."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", *(("cuda",) if torch.cuda.is_available() else ())):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Every submodule in eval mode for a while, and torch's fused fast paths (which have no derivative) off."""
    training = [m for m in module.modules() if m.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    for m in training:
        m.training = False
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for m in training:
            m.training = True
