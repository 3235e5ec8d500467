"""The same questions with torch.func, BackPACK, opacus and curvlinops."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.func import grad, jacrev, jvp, vjp, vmap

from benchmarks.in_torch import ACTIVATIONS, LAYERS, turned
from benchmarks.workloads import Workload, directions


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    """Those of all packages that are here."""
    found = _functional(workload, weights, torch.tensor(x))
    if workload.asks == "kernel" and importlib.util.find_spec("backpack"):
        found["backpack BatchGrad"] = _backpack(workload, weights, torch.tensor(x))
    if workload.asks == "norms" and importlib.util.find_spec("opacus"):
        found["opacus grad_sample"] = _opacus(workload, weights, torch.tensor(x))
    if workload.asks in ("push", "pull") and importlib.util.find_spec("curvlinops"):
        found["curvlinops operator"] = _curvlinops(workload, weights, torch.tensor(x))
    return found


def _functional(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    parameters = [tuple(torch.tensor(turned(a)) for a in p) for p in weights]
    tangent, cotangent = (torch.tensor(v) for v in directions(workload, weights))

    def whole(p, h):
        return _applied(workload, p, h)

    def one(p, h):
        return whole(p, h[None])[0]

    def leaves(tree):
        return [leaf.flatten(2) for layer in tree for leaf in layer]

    def kernel():
        parts = leaves(vmap(jacrev(one), (None, 0))(parameters, x))
        return sum(torch.einsum("nip,mjp->nimj", part, part) for part in parts).numpy()

    def norms():
        found = vmap(grad(lambda p, h: one(p, h)[0]), (None, 0))(parameters, x)
        return torch.sqrt(sum(leaf.flatten(1).square().sum(1) for layer in found for leaf in layer)).numpy()

    def rows():
        return torch.cat(leaves(vmap(jacrev(one), (None, 0))(parameters, x)), -1).numpy()

    def push():
        place, tree = 0, []
        for layer in parameters:
            sizes = [leaf.numel() for leaf in layer]
            parts = tangent[place : place + sum(sizes)].split(sizes)
            tree.append(tuple(part.reshape(leaf.shape) for part, leaf in zip(parts, layer, strict=True)))
            place += sum(sizes)
        return jvp(lambda p: whole(p, x), (parameters,), (tree,))[1].numpy()

    def pull():
        y, back = vjp(lambda p: whole(p, x), parameters)
        return torch.cat([leaf.flatten() for layer in back(cotangent.reshape(y.shape))[0] for leaf in layer]).numpy()

    ways = {
        "kernel": ("torch vmap(jacrev), by parameter", kernel),
        "norms": ("torch vmap(grad)", norms),
        "rows": ("torch vmap(jacrev)", rows),
        "push": ("torch jvp", push),
        "pull": ("torch vjp", pull),
    }
    return dict([ways[workload.asks]])


def _applied(workload: Workload, parameters, h):
    if len(workload.shape) == 3:
        h = h.permute(0, 3, 1, 2)
    for (kind, *rest), p in zip(workload.layers, parameters, strict=True):
        h = LAYERS[kind](h, p, *rest)
    return h


class Net(nn.Module):
    """The network with parameters of its own, layer by layer."""

    def __init__(self, workload: Workload, weights) -> None:
        super().__init__()
        self.workload = workload
        self.layers = nn.ModuleList(
            nn.ParameterList([nn.Parameter(torch.tensor(turned(a))) for a in layer]) for layer in weights
        )

    def forward(self, h):
        return _applied(self.workload, [tuple(layer) for layer in self.layers], h)


class Permuted(nn.Module):
    """Channels last, flattened."""

    def forward(self, h):
        return h.permute(0, 2, 3, 1).flatten(1)


class Mean(nn.Module):
    def forward(self, h):
        return h.mean((2, 3))


class Activation(nn.Module):
    def __init__(self, name) -> None:
        super().__init__()
        self.name = name

    def forward(self, h):
        return ACTIVATIONS[self.name](h)


def _convolution(kernel, bias, stride, padding) -> nn.Conv2d:
    kernel = torch.tensor(turned(kernel))
    module = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride, padding, bias=bias is not None)
    module.weight = nn.Parameter(kernel)
    if bias is not None:
        module.bias = nn.Parameter(torch.tensor(bias))
    return module


class Residual(nn.Module):
    def __init__(self, p, stride) -> None:
        super().__init__()
        self.first, self.second = _convolution(p[0], p[1], stride, 1), _convolution(p[2], p[3], 1, 1)
        self.beside = _convolution(p[4], None, stride, 0) if len(p) > 4 else nn.Identity()

    def forward(self, h):
        return torch.relu(self.second(torch.relu(self.first(h))) + self.beside(h))


def _sequential(workload: Workload, weights) -> nn.Sequential:
    """Of torch's own modules, as BackPACK and opacus want it; takes channels first."""
    found: list[nn.Module] = []
    kinds = {None: [], "relu": [nn.ReLU], "tanh": [nn.Tanh]}
    for (kind, *rest), p in zip(workload.layers, weights, strict=True):
        if kind == "dense":
            module = nn.Linear(*p[0].shape)
            module.weight, module.bias = nn.Parameter(torch.tensor(p[0].T.copy())), nn.Parameter(torch.tensor(p[1]))
            found += [module, *(one() for one in kinds[rest[-1]])]
        elif kind == "conv":
            padding = 0 if rest[2] == "VALID" else rest[1] // 2
            found += [_convolution(p[0], p[1], rest[3], padding), *(one() for one in kinds[rest[-1]])]
        elif kind == "pool":
            found.append(nn.MaxPool2d(rest[0], rest[1], rest[0] // 2 * (rest[0] % 2)))
        else:
            found.append({"flatten": Permuted, "mean": Mean}[kind]() if kind != "residual" else Residual(p, rest[1]))
    return nn.Sequential(*found)


def _first(workload: Workload, x):
    return x.permute(0, 3, 1, 2).contiguous() if len(workload.shape) == 3 else x


def _backpack(workload: Workload, weights, x) -> Callable[[], np.ndarray]:
    import backpack
    from backpack.extensions import BatchGrad

    model, x = backpack.extend(_sequential(workload, weights)), _first(workload, x)

    def kernel():
        outputs, parts = model(x).shape[1], []
        for k in range(outputs):
            model.zero_grad()
            with backpack.backpack(BatchGrad()):
                model(x)[:, k].sum().backward()
            parts.append([parameter.grad_batch.flatten(1) for parameter in model.parameters()])
        rows = [torch.stack(own, 1) for own in zip(*parts, strict=True)]
        return sum(torch.einsum("nip,mjp->nimj", part, part) for part in rows).numpy()

    return kernel


def _opacus(workload: Workload, weights, x) -> Callable[[], np.ndarray]:
    from opacus import GradSampleModule

    model, x = GradSampleModule(_sequential(workload, weights), loss_reduction="sum"), _first(workload, x)

    def norms():
        model.zero_grad()
        model(x).sum().backward()
        found = torch.sqrt(sum(p.grad_sample.flatten(1).square().sum(1) for p in model.parameters())).numpy()
        for parameter in model.parameters():
            parameter.grad_sample = None
        return found

    return norms


def _curvlinops(workload: Workload, weights, x) -> Callable[[], np.ndarray]:
    from curvlinops import JacobianLinearOperator, TransposedJacobianLinearOperator

    model, (tangent, cotangent) = Net(workload, weights), directions(workload, weights)
    kind, vector = (
        (JacobianLinearOperator, tangent) if workload.asks == "push" else (TransposedJacobianLinearOperator, cotangent)
    )
    operator = kind(model, list(model.parameters()), [(x, torch.zeros(len(x)))], check_deterministic=False)
    vector = torch.tensor(vector)
    return lambda: (operator @ vector).detach().numpy()
