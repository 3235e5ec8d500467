"""ONNX's operators for classical learning (the domain ai.onnx.ml) that are smooth: scalers and linear models."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten.reduction import norm
from netjac.networks.onnx_operators.registry import ML, Node, index_type, operator

# A map of classes to scores is taken as the array of scores; see `onnx_graph`.
operator("ZipMap", domain=ML)(lambda _, x: x)


def _vector(node: Node, name: str, x: Any, default: float) -> Any:
    return jnp.asarray(node.get(name) or [default], x.dtype)


@operator("Scaler", domain=ML)
def scaler(node: Node, x: Any) -> Any:
    return (x - _vector(node, "offset", x, 0.0)) * _vector(node, "scale", x, 1.0)


@operator("Normalizer", domain=ML)
def normalizer(node: Node, x: Any) -> Any:
    """Rows over their largest absolute entry, their sum of absolutes, or their length; a row of zeros stays."""
    order = {"MAX": float("inf"), "L1": 1, "L2": 2}[node.get("norm", "MAX")]
    length = norm(x, order, (-1,), True)
    return jnp.where(length > 0, x / jnp.where(length > 0, length, 1), x)


@operator("ArrayFeatureExtractor", domain=ML)
def extracted(node: Node, x: Any, chosen: Any) -> Any:
    y = jnp.take(x, jnp.asarray(chosen).reshape(-1), axis=-1, mode="clip")
    return y.reshape(1, -1) if x.ndim == 1 else y


@operator("FeatureVectorizer", domain=ML)
def joined(node: Node, *parts: Any) -> Any:
    return jnp.concatenate([part if part.ndim > 1 else part[:, None] for part in parts], -1)


def _scores(node: Node, x: Any, count: int) -> Any:
    weights = jnp.asarray(node.attributes["coefficients"], x.dtype).reshape(count, -1)
    y = x @ weights.T
    return y + jnp.asarray(node.attributes["intercepts"], x.dtype) if node.get("intercepts") else y


def _transformed(node: Node, y: Any) -> Any:
    kind = node.get("post_transform", "NONE")
    if kind == "LOGISTIC":
        return jax.nn.sigmoid(y)
    if kind == "SOFTMAX":
        return jax.nn.softmax(y, -1)
    if kind != "NONE":
        raise NotImplementedError(f"post_transform {kind!r}")
    return y


@operator("LinearRegressor", domain=ML)
def regressor(node: Node, x: Any) -> Any:
    return _transformed(node, _scores(node, x, node.get("targets", 1)))


@operator("LinearClassifier", domain=ML)
def classifier(node: Node, x: Any) -> Any:
    """Classes and their scores; a single row of coefficients is the second class's, the first having its negative."""
    classes = node.get("classlabels_ints")
    if classes is None and node.gives(0):
        raise NotImplementedError("classes that are words")
    known = classes or node.attributes["classlabels_strings"]
    rows = len(node.attributes["intercepts"]) if node.get("intercepts") else len(known)
    y = _scores(node, x, rows)
    if rows == 1 and len(known) == 2:
        if node.get("post_transform", "NONE") == "SOFTMAX":
            raise NotImplementedError("post_transform 'SOFTMAX' of a single row of coefficients")
        second = _transformed(node, y)
        first = 1 - second if node.get("post_transform", "NONE") == "LOGISTIC" else -second
        scores = jnp.concatenate([first, second], -1)
        chosen = (y[..., 0] > 0).astype(index_type())
    else:
        scores, chosen = _transformed(node, y), jnp.argmax(y, -1)
    labels = None if classes is None else jnp.asarray(classes, index_type())[chosen]
    return labels, scores
