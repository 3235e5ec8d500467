"""The workloads in torch, with torch.func's Jacobians and the loop of gradients that people write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch.func import jacfwd, jacrev, vmap

from benchmarks.workloads import Workload

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, None: lambda z: z}


def network(workload: Workload, weights):
    """A batch in, a batch out, channels last as everywhere."""
    weights = [tuple(torch.tensor(a.transpose(3, 2, 0, 1).copy() if a.ndim == 4 else a) for a in p) for p in weights]

    def f(h):
        for (kind, *rest), p in zip(workload.layers, weights, strict=True):
            if kind == "dense":
                h = ACTIVATIONS[rest[1]](h @ p[0] + p[1])
            elif kind == "conv":
                pad = p[0].shape[-1] // 2 if rest[2] == "SAME" else 0
                h = ACTIVATIONS[rest[3]](F.conv2d(h.permute(0, 3, 1, 2), p[0], p[1], padding=pad).permute(0, 2, 3, 1))
            elif kind == "pool":
                h = F.max_pool2d(h.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
            elif kind == "flatten":
                h = h.reshape(h.shape[0], -1)
            else:
                h = _block(h, p, rest[0])
        return h

    return f


def _block(h, p, heads):
    b, t, d = h.shape
    n = F.layer_norm(h, (d,))
    q, k, v = ((n @ w).reshape(b, t, heads, -1).transpose(1, 2) for w in p[:3])
    scores = (q @ k.transpose(-1, -2)) / np.sqrt(d // heads)
    scores = scores.masked_fill(~torch.tril(torch.ones(t, t, dtype=torch.bool)), -1e9)
    h = h + (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, d) @ p[3]
    return h + F.gelu(F.layer_norm(h, (d,)) @ p[4]) @ p[5]


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    f, x = network(workload, weights), torch.tensor(x)

    def one(sample):
        return f(sample[None])[0]

    def loop() -> np.ndarray:
        leaf = x.clone().requires_grad_()
        y = f(leaf).flatten(1)
        rows = [torch.autograd.grad(y[:, i].sum(), leaf, retain_graph=True)[0] for i in range(y.shape[1])]
        return torch.stack(rows, 1).numpy()

    return {
        "torch vmap(jacrev)": lambda: vmap(jacrev(one))(x).numpy(),
        "torch vmap(jacfwd)": lambda: vmap(jacfwd(one))(x).numpy(),
        "torch loop of grads": loop,
    }
