"""Diagnosis, layer by layer: thirty tanh layers whose gradient vanishes, one that explodes, and one that is right.

The same network with three initialisations: weights drawn with half of the standard deviation that keeps a gradient's size,
with twice of it, and orthogonal ones. Each layer's own Jacobian already tells which is which.

    python examples/diagnosis.py [FIGURE.png]
"""

import sys

import jax.numpy as jnp
import numpy as np
from scipy.stats import ortho_group

import netjac as nj

DEPTH, WIDTH = 30, 32


def deep(weights):
    def net(x):
        for number, W in enumerate(weights):
            x = nj.mark(jnp.tanh(x @ W), f"layer {number}")
        return x

    return nj.network(net, batched=True)


def initialised(kind, rng):
    if kind == "orthogonal":
        return ortho_group.rvs(WIDTH, DEPTH, random_state=rng)
    spread = {"small": 0.5, "large": 2.0}[kind]
    return rng.standard_normal((DEPTH, WIDTH, WIDTH)) * spread / np.sqrt(WIDTH)


def main(figure=None):
    rng = np.random.default_rng(0)
    X = 0.05 * rng.standard_normal((200, WIDTH))
    flows = {
        kind: nj.gradient_flow(deep(initialised(kind, rng)), X, samples=4) for kind in ("small", "large", "orthogonal")
    }
    print(f"{'weights':<12}{'a layer, rms σ':>16}{'∂out/∂first layer':>20}{'saturated':>12}   verdict")
    for kind, flow in flows.items():
        first, saturated = flow["layer 0"], np.mean([layer.saturated for layer in flow.layers])
        own = np.mean([layer.own.rms for layer in flow.layers])
        print(f"{kind:<12}{own:>16.3f}{first.through.rms:>20.2g}{saturated:>12.1%}   {flow.verdict}")
    if figure:
        flows["small"].plot(figure)
    return flows


if __name__ == "__main__":
    main(*sys.argv[1:2])
