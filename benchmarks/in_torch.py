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
    """A batch in, a batch out, channels last as everywhere; inside an image's channels come first, as torch has them."""
    weights = [tuple(torch.tensor(turned(a)) for a in p) for p in weights]

    def f(h):
        if len(workload.shape) == 3:
            h = h.permute(0, 3, 1, 2)
        for (kind, *rest), p in zip(workload.layers, weights, strict=True):
            h = LAYERS[kind](h, p, *rest)
        return h.permute(0, 2, 3, 1) if h.ndim == 4 else h

    return f


def turned(kernel):
    return kernel.transpose(3, 2, 0, 1).copy() if kernel.ndim == 4 else kernel


def _dense(h, p, _width, activation):
    return ACTIVATIONS[activation](h @ p[0] + p[1])


def _conv(h, p, _channels, kernel, padding, stride, activation):
    half = 0 if padding == "VALID" else kernel // 2
    return ACTIVATIONS[activation](F.conv2d(h, p[0], p[1], stride, half))


def _deconv(h, p, _channels, activation):
    kernel = p[0].flip(2, 3).transpose(0, 1)
    return ACTIVATIONS[activation](F.conv_transpose2d(h, kernel, p[1], 2, 1, output_padding=1))


def _residual(h, p, _channels, stride):
    inner = torch.relu(F.conv2d(h, p[0], p[1], stride, 1))
    beside = F.conv2d(h, p[4], None, stride) if len(p) > 4 else h
    return torch.relu(F.conv2d(inner, p[2], p[3], 1, 1) + beside)


def _lstm(h, p, width, given):
    state = cell = torch.zeros(h.shape[0], width)
    states = []
    for z in (h @ p[0] + p[2]).unbind(1):
        i, f, g, o = (z + state @ p[1]).chunk(4, -1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        state = torch.sigmoid(o) * torch.tanh(cell)
        states.append(state)
    return torch.stack(states, 1) if given == "all" else state


def _block(h, p, heads):
    b, t, d = h.shape
    n = F.layer_norm(h, (d,))
    q, k, v = ((n @ w).reshape(b, t, heads, -1).transpose(1, 2) for w in p[:3])
    scores = (q @ k.transpose(-1, -2)) / np.sqrt(d // heads)
    scores = scores.masked_fill(~torch.tril(torch.ones(t, t, dtype=torch.bool)), -1e9)
    h = h + (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, d) @ p[3]
    return h + F.gelu(F.layer_norm(h, (d,)) @ p[4]) @ p[5]


LAYERS = {
    "dense": _dense,
    "conv": _conv,
    "deconv": _deconv,
    "residual": _residual,
    "pool": lambda h, _p, size, stride: F.max_pool2d(h, size, stride, size // 2 * (size % 2)),
    "mean": lambda h, _p: h.mean((2, 3)),
    "flatten": lambda h, _p: h.permute(0, 2, 3, 1).flatten(1),
    "shape": lambda h, _p, *sizes: h.reshape(h.shape[0], *sizes).permute(0, 3, 1, 2),
    "lstm": _lstm,
    "block": _block,
}


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    f, x = network(workload, weights), torch.tensor(x)

    def one(sample):
        return f(sample[None])[0]

    def loop() -> np.ndarray:
        leaf = x.clone().requires_grad_()
        y = f(leaf).flatten(0 if workload.whole else 1)
        entries = y if workload.whole else (y[:, i].sum() for i in range(y.shape[1]))
        rows = [torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in entries]
        return torch.stack(rows, 0 if workload.whole else 1).numpy()

    return {
        "torch vmap(jacrev)": lambda: (jacrev(f) if workload.whole else vmap(jacrev(one)))(x).detach().numpy(),
        "torch vmap(jacfwd)": lambda: (jacfwd(f) if workload.whole else vmap(jacfwd(one)))(x).detach().numpy(),
        "torch loop of grads": loop,
    }
