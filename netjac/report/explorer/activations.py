"""The activations that the page can compute: their values and derivatives, and how one is recognised by its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc, expit, log_softmax, softmax

Vector = np.ndarray
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
ROOT = float(np.sqrt(2 / np.pi))


@dataclass(frozen=True)
class Activation:
    """A name, the slope of a leaky relu or the α of an elu, and (z, the network's derivative there) for each of `KINKS`."""

    name: str
    parameter: float = 0.0
    kinks: tuple[tuple[float, float], ...] = ()

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
        slopes = SLOPES[self.name](z, self.parameter)
        for kink, slope in self.kinks:
            slopes = np.where(z == kink, slope, slopes)
        return np.diag(slopes)


def _gauss(z: Vector) -> Vector:
    return erfc(-z / np.sqrt(2)) / 2


def _inside(z: Vector, low: float, high: float) -> Vector:
    return ((z > low) & (z < high)) * 1.0


def _tanh_of(z: Vector) -> Vector:
    return np.tanh(ROOT * (z + 0.044715 * z**3))


def _exp(z: Vector) -> Vector:
    return np.exp(np.minimum(z, 0))


def _tanh_gelu_slope(z: Vector) -> Vector:
    t = _tanh_of(z)
    return (1 + t) / 2 + z / 2 * (1 - t**2) * ROOT * (1 + 3 * 0.044715 * z**2)


def _mish_slope(z: Vector) -> Vector:
    t = np.tanh(np.logaddexp(0, z))
    return t + z * (1 - t**2) * expit(z)


VALUES: dict[str, Callable[[Vector, float], Vector]] = {
    "linear": lambda z, _: z,
    "relu": lambda z, _: np.maximum(z, 0),
    "relu6": lambda z, _: np.clip(z, 0, 6),
    "leaky_relu": lambda z, a: np.where(z > 0, z, a * z),
    "elu": lambda z, a: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0))),
    "selu": lambda z, _: SCALE * np.where(z > 0, z, ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z, _: z * _gauss(z),
    "gelu_tanh": lambda z, _: z / 2 * (1 + _tanh_of(z)),
    "silu": lambda z, _: z * expit(z),
    "softplus": lambda z, _: np.logaddexp(0, z),
    "sigmoid": lambda z, _: expit(z),
    "log_sigmoid": lambda z, _: -np.logaddexp(0, -z),
    "mish": lambda z, _: z * np.tanh(np.logaddexp(0, z)),
    "softsign": lambda z, _: z / (1 + np.abs(z)),
    "tanh": lambda z, _: np.tanh(z),
    "tanh_shrink": lambda z, _: z - np.tanh(z),
    "hard_sigmoid": lambda z, _: np.clip(z + 3, 0, 6) / 6,
    "hard_silu": lambda z, _: z * np.clip(z + 3, 0, 6) / 6,
    "hard_tanh": lambda z, _: np.clip(z, -1, 1),
    "softmax": lambda z, _: softmax(z, axis=-1),
    "log_softmax": lambda z, _: log_softmax(z, axis=-1),
}
SLOPES: dict[str, Callable[[Vector, float], Vector]] = {
    "linear": lambda z, _: np.ones_like(z),
    "relu": lambda z, _: (z > 0) * 1.0,
    "relu6": lambda z, _: _inside(z, 0, 6),
    "leaky_relu": lambda z, a: np.where(z > 0, 1.0, a),
    "elu": lambda z, a: np.where(z > 0, 1.0, a * _exp(z)),
    "selu": lambda z, _: SCALE * np.where(z > 0, 1.0, ALPHA * _exp(z)),
    "gelu": lambda z, _: _gauss(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    "gelu_tanh": lambda z, _: _tanh_gelu_slope(z),
    "silu": lambda z, _: expit(z) * (1 + z * (1 - expit(z))),
    "softplus": lambda z, _: expit(z),
    "sigmoid": lambda z, _: expit(z) * (1 - expit(z)),
    "log_sigmoid": lambda z, _: expit(-z),
    "mish": lambda z, _: _mish_slope(z),
    "softsign": lambda z, _: 1 / (1 + np.abs(z)) ** 2,
    "tanh": lambda z, _: 1 - np.tanh(z) ** 2,
    "tanh_shrink": lambda z, _: np.tanh(z) ** 2,
    "hard_sigmoid": lambda z, _: _inside(z, -3, 3) / 6,
    "hard_silu": lambda z, _: np.where(z < 3, _inside(z, -3, 3) * (2 * z + 3) / 6, 1.0),
    "hard_tanh": lambda z, _: _inside(z, -1, 1),
}
KINKS: dict[str, tuple[float, ...]] = {
    "relu": (0.0,), "relu6": (0.0, 6.0), "leaky_relu": (0.0,), "elu": (0.0,), "selu": (0.0,),
    "hard_sigmoid": (-3.0, 3.0), "hard_silu": (-3.0, 3.0), "hard_tanh": (-1.0, 1.0),
}  # fmt: skip
"""Where the derivative is a convention, in which frameworks differ: torch's leaky relu has its slope at 0, JAX's has 1."""
TOLERANCE = 1e-6  # frameworks' constants are float32: selu's scale, leaky relu's slope
POINTS = 96
FAR = 1e4


def recognise(function: Callable[[Vector], Vector], slope: Callable[[Vector], Vector], size: int) -> Activation | None:
    """The activation whose values a function of (k, size) points has, or None; `slope` is its derivative at such points.

    Looked at near 0, at ±30, where a relu6 is no relu, and out to ±`FAR` as far as the function does not overflow there.
    """
    z = np.random.default_rng(0).uniform(-1, 1, (POINTS, size))
    z *= np.repeat([1.5, 6.0, 30.0, FAR], POINTS // 4)[:, None]
    found = function(z)
    if found.shape != z.shape or not np.isfinite(found[: -POINTS // 4]).all():
        return None
    far = np.isfinite(found)
    low = function(np.full((1, size), -1.0))[0, 0]
    for name, value in VALUES.items():
        parameter = float({"leaky_relu": -low, "elu": -low / (1 - np.exp(-1.0))}.get(name, 0.0))
        if np.allclose(value(z, parameter)[far], found[far], rtol=TOLERANCE, atol=TOLERANCE / 10):
            kinks = KINKS.get(name, ())
            at = slope(np.repeat(np.array(kinks)[:, None], size, 1))[:, 0].tolist() if kinks else []
            return Activation(name, parameter, tuple(zip(kinks, at, strict=True)))
    return None
