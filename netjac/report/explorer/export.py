"""What the page is given: a chain of layers with its numbers, verified, or a linearisation at the samples."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from netjac.errors import TooLargeError, UnsupportedOperationError
from netjac.report.explorer.activations import Activation
from netjac.report.explorer.chain import Layer, chain_of

MOST_BYTES = 1_500_000
ROUNDING = 1e-7  # of float32: TensorFlow keeps the constants of gelu in it, which costs 1.3e-9


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as base64 of little-endian numbers; float32 where that loses nothing but rounding of the last bits."""
    array = np.asarray(array, np.float64)
    narrow = array.astype("<f4")
    scale = np.abs(array).max(initial=0.0)
    same = np.allclose(narrow.astype(np.float64), array, rtol=0, atol=1e-13 * scale)
    data = narrow if same else array.astype("<f8")
    return {"shape": list(array.shape), "type": data.dtype.str[1:], "data": base64.b64encode(data.tobytes()).decode()}


def unpacked(given: dict[str, Any]) -> np.ndarray:
    """The inverse of `packed`, float64."""
    data = np.frombuffer(base64.b64decode(given["data"]), "<" + given["type"])
    return data.astype(np.float64).reshape(given["shape"])


def chain_data(point: Any) -> list[dict[str, Any]]:
    """The layers of a dense chain, packed. Raises `UnsupportedOperationError`, `TooLargeError`."""
    layers = [_told(layer) for layer in chain_of(point)]
    size = sum(len(layer[part]["data"]) for layer in layers for part in ("weights", "bias"))
    if size > MOST_BYTES:
        raise TooLargeError(f"its weights take {size:,} bytes and the page may take {MOST_BYTES:,}")
    return layers


def _told(layer: Layer) -> dict[str, Any]:
    return {
        "weights": packed(layer.weights),
        "bias": packed(layer.bias),
        "activation": layer.activation.name,
        "parameter": layer.activation.parameter,
        "kinks": [list(pair) for pair in layer.activation.kinks],
    }


def evaluated(layers: Sequence[dict[str, Any]], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, J) at one input, from what was exported and NumPy alone."""
    h, jacobian = np.asarray(x, np.float64).reshape(-1), np.eye(np.size(x))
    for layer in layers:
        weights = unpacked(layer["weights"])
        activation = Activation(layer["activation"], layer["parameter"], tuple(map(tuple, layer["kinks"])))
        z = weights @ h + unpacked(layer["bias"])
        h, jacobian = activation.value(z), activation.jacobian(z) @ weights @ jacobian
    return h, jacobian


def verify(layers: Sequence[dict[str, Any]], x: np.ndarray, y: np.ndarray, jacobian: np.ndarray) -> None:
    """Raise `UnsupportedOperationError` unless what was exported gives the network's own values and J, in float64."""
    scales = np.abs(y).max(initial=1e-300), np.abs(jacobian).max(initial=1e-300)
    for sample, own, exact in zip(x, y, jacobian, strict=True):
        value, matrix = evaluated(layers, sample)
        pairs = (value, own.reshape(-1), "outputs"), (matrix, exact.reshape(matrix.shape), "Jacobian")
        for (ours, theirs, what), scale in zip(pairs, scales, strict=True):
            error = np.abs(ours - theirs).max() / scale
            if not error <= ROUNDING:
                raise UnsupportedOperationError(f"the exported chain's {what} differ from the network's by {error:.1e}")
