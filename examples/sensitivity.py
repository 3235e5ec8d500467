"""Sensitivity of an engineering surrogate: what moves the flow through a borehole?

A small network learns the borehole function of eight physical parameters (Harper and Gupta, 1983; Morris, Mitchell and
Ylvisaker, Technometrics 35, 1993) from 1,000 runs. Its exact derivatives are then compared with those of the function itself.

    python examples/sensitivity.py [FIGURE.png]
"""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import qmc
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

import netjac as nj

RANGES = {
    "radius of the borehole": (0.05, 0.15),
    "radius of influence": (100, 50_000),
    "upper transmissivity": (63_070, 115_600),
    "upper head": (990, 1_110),
    "lower transmissivity": (63.1, 116),
    "lower head": (700, 820),
    "length": (1_120, 1_680),
    "conductivity": (9_855, 12_045),
}
LOW, HIGH = np.array(list(RANGES.values()), float).T


def borehole(u):
    """The flow in m³ a year, of parameters u between 0 and 1."""
    rw, r, tu, hu, tl, hl, length, kw = jnp.moveaxis(LOW + (HIGH - LOW) * u, -1, 0)
    log = jnp.log(r / rw)
    return 2 * jnp.pi * tu * (hu - hl) / (log * (1 + 2 * length * tu / (log * rw**2 * kw) + tu / tl))


def main(figure=None):
    runs = qmc.LatinHypercube(8, rng=0).random(1_000)
    flow = np.asarray(borehole(runs))
    surrogate = TransformedTargetRegressor(
        MLPRegressor(
            hidden_layer_sizes=(16,), activation="tanh", solver="lbfgs", alpha=1e-5, max_iter=800, random_state=0
        ),
        transformer=StandardScaler(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        surrogate.fit(runs, flow)

    X = np.random.default_rng(1).random((2_000, 8))
    network, scaler = surrogate.regressor_, surrogate.transformer_
    learned = nj.sensitivity(network, X, feature_names=list(RANGES), output_names=["flow"], ranges=(0, 1))
    true = nj.sensitivity(nj.network(lambda u: borehole(u) / float(scaler.scale_[0]), batched=True), X, ranges=(0, 1))

    print("rms derivative of the flow, in its standard deviations over a parameter's whole range\n")
    print(f"{'parameter':<24}{'network':>9}{'function':>10}   95 % interval")
    low, high = learned.interval("rms")
    for j in np.argsort(-learned.rms[0]):
        print(
            f"{list(RANGES)[j]:<24}{learned.rms[0, j]:>9.3f}{true.rms[0, j]:>10.3f}   {low[0, j]:.3f} to {high[0, j]:.3f}"
        )

    J = np.asarray(nj.jacobian(network, X)).reshape(-1, 8)
    exact = np.asarray(jax.vmap(jax.grad(borehole))(X)) / scaler.scale_[0]
    error = np.linalg.norm(J - exact) / np.linalg.norm(exact)
    print(f"\nderivatives of the network and of the function, sample by sample: {error:.2%} apart")
    if figure:
        learned.plot("bars", path=figure)
    return {"error": error, "learned": learned, "true": true}


if __name__ == "__main__":
    main(*sys.argv[1:2])
