"""Sensitivities with netjac, and with those who answer the same question."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.contenders import installed
from benchmarks.workloads import Workload

CONFIDENCE = 0.95
RESAMPLES = 100
DELTA = 1e-6
"""Of a feature's value: SALib's own default, 0.01, is off by up to a few per cent."""


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    """By those that are here; SALib's points are those of all where the question is its own."""
    if workload.asks == "dgsm":
        return _dgsm(workload, weights, x)
    found = {"netjac": _netjac(workload, weights, x)}
    if installed("captum"):
        found["captum Saliency by target"] = _captum(workload, weights, x)
    if installed("neuralsens") and len(workload.shape) == 1:
        found["neuralsens jacobian_mlp"] = _neuralsens(workload, weights, x)
    return found


def _netjac(workload: Workload, weights, x):
    """With its intervals kept, as it does unasked, and the weights as JAX's arrays, as Captum has torch's."""
    import jax.numpy as jnp

    import netjac as nj
    from benchmarks.parameters_in_jax import Model

    weights = [tuple(map(jnp.asarray, p)) for p in weights]
    network = nj.network(Model(workload, weights), batched=True)

    def call():
        s = nj.sensitivity(network, x)
        return np.stack([s.mean, s.std, s.rms])

    return call


def _captum(workload: Workload, weights, x):
    import torch
    from captum.attr import Saliency

    from benchmarks.in_torch import network

    model, samples, outputs = network(workload, weights), torch.tensor(x), workload.layers[-1][1]
    saliency = Saliency(model)

    def call():
        found = []
        for i in range(outputs):
            rows = saliency.attribute(samples.clone().requires_grad_(), target=i, abs=False).flatten(1)
            found.append(torch.stack([rows.mean(0), rows.std(0, correction=0), rows.square().mean(0).sqrt()]))
        return torch.stack(found, 1).numpy()

    return call


class Labels:
    """Outputs as neuralsens reads them: of several it wants a table's `columns` and a column's `unique()`, which no pandas
    object has both of."""

    name = "y"

    def __init__(self, outputs: int) -> None:
        self.columns = Index(outputs)

    def unique(self) -> list[str]:
        return self.columns.to_list()


class Index:
    """The names of the outputs."""

    def __init__(self, outputs: int) -> None:
        self._outputs = outputs

    def to_list(self) -> list[str]:
        return [str(i) for i in range(self._outputs)]


def neuralsens_tables(workload: Workload, weights, x) -> list:
    """What neuralsens finds: one table for each output, a row for each feature."""
    import pandas
    from neuralsens.partial_derivatives import jacobian_mlp

    kinds = {"tanh": "tanh", "relu": "ReLU", None: "identity"}
    names = ["identity", *(kinds[layer[2]] for layer in workload.layers)]
    table = pandas.DataFrame(x.astype(np.float64), columns=[f"x{j}" for j in range(workload.shape[0])])
    matrices, biases = zip(*weights, strict=True)
    return jacobian_mlp(list(matrices), list(biases), names, table, Labels(workload.layers[-1][1])).sens


def _neuralsens(workload: Workload, weights, x):
    def call():
        # Its "mean_squared" is the root of the mean square.
        tables = neuralsens_tables(workload, weights, x)
        return np.stack([part[["mean", "std", "mean_squared"]].to_numpy().T for part in tables], 1)

    return call


def _dgsm(workload: Workload, weights, x):
    weights = [tuple(a.astype(np.float64) for a in p) for p in weights]
    x = x.astype(np.float64)
    found = {}
    if installed("SALib"):
        from SALib.analyze import dgsm
        from SALib.sample import finite_diff

        n = workload.shape[0]
        problem = {"num_vars": n, "names": [f"x{j}" for j in range(n)], "bounds": [[-1.0, 1.0]] * n}
        moved = finite_diff.sample(problem, len(x), DELTA)
        x = moved[:: n + 1]

        def theirs():
            state = np.random.get_state()
            out = dgsm.analyze(problem, moved, evaluated(workload, weights, moved), RESAMPLES, CONFIDENCE, seed=1)
            np.random.set_state(state)
            return np.stack([out["vi"], out["dgsm"]])

        found["SALib dgsm"] = theirs

    import netjac as nj
    from benchmarks.parameters_in_jax import Model

    network = nj.network(Model(workload, weights), batched=True)

    def ours():
        s = nj.sensitivity(network, x, ranges=(-1, 1), confidence=CONFIDENCE)
        s.interval("dgsm_bound")
        return np.stack([s.dgsm[0], s.dgsm_bound[0]])

    return {"netjac": ours, **found}


def evaluated(workload: Workload, weights, x) -> np.ndarray:
    """The first output of a dense network, in NumPy."""
    for (_, _width, activation), (matrix, bias) in zip(workload.layers, weights, strict=True):
        x = x @ matrix + bias
        x = np.tanh(x) if activation == "tanh" else x
    return x[:, 0]
