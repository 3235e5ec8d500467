"""Who takes part: the ways of each framework, and which of them a workload leaves out."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.workloads import Workload

OURS = "netjac"
WAYS = {
    "jax": ("jax jacrev", "jax jacfwd"),
    "torch": ("torch vmap(jacrev)", "torch vmap(jacfwd)", "torch loop of grads"),
    "tensorflow": ("tensorflow batch_jacobian",),
    "asdex": ("asdex jacobian",),
    "hand": ("hand written",),
}
HAND = "hand"
"""No peer: programs written for one network each, to see what can be asked of XLA."""
BY_HAND = (
    "mlp_classifier",
    "square_batch",
    "field",
    "whole_batch",
    "lenet",
    "resnet",
    "lstm",
    "conv_autoencoder",
    "tiny",
)
BY_PARAMETERS = {
    "kernel": ("jax dense J", "jax jacrev, by parameter", "torch vmap(jacrev), by parameter", "backpack BatchGrad"),
    "norms": ("jax vmap(grad)", "torch vmap(grad)", "opacus grad_sample"),
    "rows": ("jax vmap(jacrev)", "torch vmap(jacrev)"),
    "push": ("jax jvp", "torch jvp", "curvlinops operator"),
    "pull": ("jax vjp", "torch vjp", "curvlinops operator"),
    "sensitivity": ("captum Saliency by target", "neuralsens jacobian_mlp"),
    "dgsm": ("SALib dgsm",),
}
PEERS_OF_SENSITIVITY = ("captum", "neuralsens", "SALib")
PEERS_BY_PARAMETERS = ("jax", "torch", "backpack", "opacus", "curvlinops")
SPARSE = "asdex"
MODULES = {
    OURS: "in_jax", "jax": "in_jax", "torch": "in_torch", "tensorflow": "in_tensorflow", "asdex": "in_asdex", HAND: "in_hand",
}  # fmt: skip


def installed(framework: str) -> bool:
    return framework == HAND or importlib.util.find_spec(framework) is not None


def taking_part(workload: Workload, peers: Sequence[str]) -> tuple[str, ...]:
    """netjac first, then every way of the peers that are installed and that the workload does not leave out; among them what
    is written by hand, where it is.

    A sparse answer is asked of those who give one, and of JAX for its dense one.
    """
    if workload.asks:
        ways = (way for way in BY_PARAMETERS[workload.asks] if way.split()[0] in peers and installed(way.split()[0]))
        return (OURS, *(way for way in ways if way not in workload.left_out))
    asked = [peer for peer in peers if (peer in ("jax", SPARSE) if workload.sparse else peer != SPARSE)]
    asked = [peer for peer in asked if peer != HAND or workload.name in BY_HAND]
    ways = (way for peer in asked if installed(peer) for way in WAYS[peer])
    return (OURS, *(way for way in ways if way not in workload.left_out))


def prepared(way: str, workload: Workload, weights, x) -> Callable[[], Any]:
    """The call that is timed: NumPy in, NumPy (or a sparse matrix) out, with the network already built."""
    framework = way.partition(" ")[0]
    if workload.asks in ("sensitivity", "dgsm"):
        where = "in_sensitivity"
    elif workload.asks:
        where = "parameters_in_jax" if framework in (OURS, "jax") else "parameters_in_torch"
    else:
        where = MODULES[framework]
    module = importlib.import_module(f"benchmarks.{where}")
    return module.ways(workload, weights, x)[way]
