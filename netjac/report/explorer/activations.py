"""The activations that the page can compute: their values and derivatives, and how one is recognised by its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit, log_softmax, softmax

Vector = np.ndarray
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
ROOT = float(np.sqrt(2 / np.pi))


@dataclass(frozen=True)
class Activation:
    """A name, and the slope of a leaky relu or the α of an elu."""

    name: str
    parameter: float = 0.0

    def value(self, z: Vector) -> Vector:
        """φ(z), over the last axis for softmax."""
        return VALUES[self.name](z, self.parameter)

    def jacobian(self, z: Vector) -> Vector:
        """∂φ/∂z at one vector, (n, n)."""
        if self.name == "softmax":
            p = softmax(z)
            return np.diag(p) - np.outer(p, p)
        if self.name == "log_softmax":
            return np.eye(z.size) - softmax(z)
        return np.diag(SLOPES[self.name](z, self.parameter))


def _gauss(z: Vector) -> Vector:
    return (1 + erf(z / np.sqrt(2))) / 2


def _tanh_of(z: Vector) -> Vector:
    return np.tanh(ROOT * (z + 0.044715 * z**3))


def _exp(z: Vector) -> Vector:
    return np.exp(np.minimum(z, 0))


def _tanh_gelu_slope(z: Vector) -> Vector:
    t = _tanh_of(z)
    return (1 + t) / 2 + z / 2 * (1 - t**2) * ROOT * (1 + 3 * 0.044715 * z**2)


VALUES: dict[str, Callable[[Vector, float], Vector]] = {
    "linear": lambda z, _: z,
    "relu": lambda z, _: np.maximum(z, 0),
    "leaky_relu": lambda z, a: np.where(z > 0, z, a * z),
    "elu": lambda z, a: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0))),
    "selu": lambda z, _: SCALE * np.where(z > 0, z, ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z, _: z * _gauss(z),
    "gelu_tanh": lambda z, _: z / 2 * (1 + _tanh_of(z)),
    "silu": lambda z, _: z * expit(z),
    "softplus": lambda z, _: np.logaddexp(0, z),
    "sigmoid": lambda z, _: expit(z),
    "tanh": lambda z, _: np.tanh(z),
    "softmax": lambda z, _: softmax(z, axis=-1),
    "log_softmax": lambda z, _: log_softmax(z, axis=-1),
}
SLOPES: dict[str, Callable[[Vector, float], Vector]] = {
    "linear": lambda z, _: np.ones_like(z),
    "relu": lambda z, _: (z > 0) * 1.0,
    "leaky_relu": lambda z, a: np.where(z > 0, 1.0, a),
    "elu": lambda z, a: np.where(z > 0, 1.0, a * _exp(z)),
    "selu": lambda z, _: SCALE * np.where(z > 0, 1.0, ALPHA * _exp(z)),
    "gelu": lambda z, _: _gauss(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    "gelu_tanh": lambda z, _: _tanh_gelu_slope(z),
    "silu": lambda z, _: expit(z) * (1 + z * (1 - expit(z))),
    "softplus": lambda z, _: expit(z),
    "sigmoid": lambda z, _: expit(z) * (1 - expit(z)),
    "tanh": lambda z, _: 1 - np.tanh(z) ** 2,
}
TOLERANCE = 1e-6  # frameworks' constants are float32: selu's scale, leaky relu's slope
POINTS = 64


def recognise(function: Callable[[Vector], Vector], size: int) -> Activation | None:
    """The activation whose values a function of (k, size) points has, or None."""
    z = np.random.default_rng(0).uniform(-6, 6, (POINTS, size))
    z[: POINTS // 2] /= 4
    found = function(z)
    if found.shape != z.shape or not np.isfinite(found).all():
        return None
    low = function(np.full((1, size), -1.0))[0, 0]
    for name in VALUES:
        parameter = {"leaky_relu": -low, "elu": -low / (1 - np.exp(-1.0))}.get(name, 0.0)
        if np.allclose(VALUES[name](z, parameter), found, rtol=TOLERANCE, atol=TOLERANCE / 10):
            return Activation(name, float(parameter))
    return None
