"""Losses as what a Gauss–Newton step asks of them: value, slope and curvature at the outputs.

With y the outputs, a step solves JᵀHJ δ = −Jᵀu, where u = ∂L/∂y and H = ∂²L/∂y²: H is positive semidefinite, and so is JᵀHJ,
whatever the network (Schraudolph, Neural Computation 14, 2002).

    mean squared error   L = ½ Σ (y − t)²              u = y − t    H = 1
    cross-entropy        L = −Σ t log softmax(y)       u = p − t    H = diag(p) − p pᵀ,   p = softmax(y)
    the same, one output L = −t log p − (1−t) log(1−p) u = p − t    H = p (1 − p),        p = 1 / (1 + e^−y)

Three classes with p = (½, ¼, ¼) and the first one right: u = (−½, ¼, ¼), and H has the rows (¼, −⅛, −⅛), (−⅛, 3/16, −1/16) and
(−⅛, −1/16, 3/16).

Arrays are (…, outputs) of one run of samples; J is (rows, parameters), its rows as y lies in memory.
"""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
import numpy as np

from netjac.errors import NonFiniteError, ShapeError, UnknownNameError


class Loss(abc.ABC):
    """A convex function of the outputs y and targets t of each sample, summed over samples."""

    name: str

    @abc.abstractmethod
    def value(self, y: jax.Array, t: jax.Array) -> jax.Array:
        """The sum, a single number."""

    @abc.abstractmethod
    def slope(self, y: jax.Array, t: jax.Array) -> jax.Array:
        """u = ∂L/∂y, of y's shape."""

    @abc.abstractmethod
    def curved(self, y: jax.Array, v: jax.Array) -> jax.Array:
        """H v for v of y's shape."""

    @abc.abstractmethod
    def rows(self, y: jax.Array, J: jax.Array) -> jax.Array:
        """B J with BᵀB = H: the rows whose normal matrix is JᵀHJ."""

    def blocks(self, y: jax.Array) -> jax.Array | None:
        """H itself, (samples, m, m), of y (samples, m); None where it is 1."""
        eye = jnp.eye(y.shape[-1], dtype=y.dtype)
        return jax.vmap(lambda column: self.curved(y, jnp.broadcast_to(column, y.shape)), out_axes=-1)(eye)

    @abc.abstractmethod
    def targets(self, Y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The targets of a run of samples in the shape of the outputs. Raises `ShapeError`, `NonFiniteError`."""

    @abc.abstractmethod
    def reported(self, total: float, samples: int, outputs: int) -> float:
        """What is told of a sum over so many samples with so many outputs each."""


class MeanSquares(Loss):
    """½ Σ (y − t)², told as the mean of (y − t)² over samples and outputs."""

    name = "mse"

    def value(self, y: jax.Array, t: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(jnp.square(y - t))

    def slope(self, y: jax.Array, t: jax.Array) -> jax.Array:
        return y - t

    def curved(self, y: jax.Array, v: jax.Array) -> jax.Array:
        return v

    def rows(self, y: jax.Array, J: jax.Array) -> jax.Array:
        return J

    def blocks(self, y: jax.Array) -> jax.Array | None:
        return None

    def targets(self, Y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        squeezed = [size for size in shape[1:] if size != 1]
        if Y.shape[:1] != shape[:1] or [size for size in Y.shape[1:] if size != 1] != squeezed:
            raise ShapeError(f"Y has shape {Y.shape} where the outputs have {shape}; give one target for each output")
        return _finite(Y).reshape(shape)

    def reported(self, total: float, samples: int, outputs: int) -> float:
        return 2 * total / max(samples * outputs, 1)


class CrossEntropy(Loss):
    """−Σ t log softmax(y) over the last axis, told as the mean over samples; y are logits."""

    name = "cross-entropy"

    def value(self, y: jax.Array, t: jax.Array) -> jax.Array:
        return -jnp.sum(t * jax.nn.log_softmax(y))

    def slope(self, y: jax.Array, t: jax.Array) -> jax.Array:
        return jax.nn.softmax(y) * jnp.sum(t, -1, keepdims=True) - t

    def curved(self, y: jax.Array, v: jax.Array) -> jax.Array:
        p = jax.nn.softmax(y)
        return p * (v - jnp.sum(p * v, -1, keepdims=True))

    def rows(self, y: jax.Array, J: jax.Array) -> jax.Array:
        """√p (J − pᵀJ), class by class."""
        p = jax.nn.softmax(y).reshape((-1, y.shape[-1], 1))
        by_class = J.reshape((*p.shape[:2], J.shape[-1]))
        return (jnp.sqrt(p) * (by_class - jnp.sum(p * by_class, 1, keepdims=True))).reshape(J.shape)

    def targets(self, Y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if Y.shape == shape:
            return _shares(Y, "each sample's shares must not be negative and must sum to 1", Y.sum(-1))
        if Y.shape not in (shape[:-1], (*shape[:-1], 1)) or not _whole(Y):
            raise ShapeError(
                f"Y of shape {Y.shape} and dtype {Y.dtype} are no targets for outputs of shape {shape}; give each sample's "
                "class as an integer, or a share for each class"
            )
        classes = Y.reshape(shape[:-1]).astype(np.int64)
        if classes.size and not (classes.min() >= 0 and classes.max() < shape[-1]):
            raise ShapeError(
                f"Y names class {int(classes.max() if classes.min() >= 0 else classes.min())} and the network has outputs for "
                f"0 to {shape[-1] - 1}"
            )
        return np.eye(shape[-1])[classes]

    def reported(self, total: float, samples: int, outputs: int) -> float:
        return total / max(samples, 1)


class Logistic(CrossEntropy):
    """The cross-entropy of two classes by one logit: of the class 1, whose probability is 1 / (1 + e^−y)."""

    def value(self, y: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.softplus(y) - t * y)

    def slope(self, y: jax.Array, t: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(y) - t

    def curved(self, y: jax.Array, v: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(y) * jax.nn.sigmoid(-y) * v

    def rows(self, y: jax.Array, J: jax.Array) -> jax.Array:
        return jnp.sqrt(jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)).reshape((-1, 1)) * J

    def targets(self, Y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if Y.shape not in (shape, shape[:-1]):
            raise ShapeError(f"Y has shape {Y.shape} where the outputs have {shape}; give 0 or 1 for each sample")
        Y = Y.reshape(shape)
        return _shares(Y, "with a single output each target must lie between 0 and 1", np.clip(Y, 0, 1) - Y + 1)


def loss_of(name: str, shape: tuple[int, ...]) -> Loss:
    """The loss of that name for outputs of this shape. Raises `UnknownNameError`, `ShapeError`."""
    if name == MeanSquares.name:
        return MeanSquares()
    if name != CrossEntropy.name:
        raise UnknownNameError.of("loss", str(name), (MeanSquares.name, CrossEntropy.name))
    if len(shape) < 2:
        raise ShapeError(f"cross-entropy needs an axis of classes, and the outputs have shape {shape}; make it (N, 1)")
    return Logistic() if shape[-1] == 1 else CrossEntropy()


def _finite(Y: np.ndarray) -> np.ndarray:
    if Y.dtype.kind not in "fiub":
        raise ShapeError(f"Y holds {Y.dtype}, no real numbers; convert it first")
    wide = Y.astype(np.float64)
    if not np.isfinite(wide).all():
        raise NonFiniteError(f"Y holds {wide[~np.isfinite(wide)][0]}; remove or replace such targets")
    return wide


def _shares(Y: np.ndarray, what: str, sums: np.ndarray) -> np.ndarray:
    wide = _finite(Y)
    if (wide < 0).any() or not np.allclose(sums, 1, rtol=0, atol=1e-5):
        raise ShapeError(f"Y are no probabilities: {what}")
    return wide


def _whole(Y: np.ndarray) -> bool:
    return Y.dtype.kind in "iub" or bool(Y.dtype.kind == "f" and (np.round(Y) == Y).all())
