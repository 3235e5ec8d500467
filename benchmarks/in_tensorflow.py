"""The workloads in TensorFlow, with GradientTape.batch_jacobian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks.workloads import Workload

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh, None: tf.identity}


def network(workload: Workload, weights):
    weights = [tuple(tf.constant(a) for a in p) for p in weights]

    def f(h):
        for (kind, *rest), p in zip(workload.layers, weights, strict=True):
            h = LAYERS[kind](h, p, *rest)
        return h

    return f


def _dense(h, p, _width, activation):
    return ACTIVATIONS[activation](h @ p[0] + p[1])


def _convolved(h, kernel, stride, padding):
    half = kernel.shape[0] // 2
    pads = "VALID" if padding == "VALID" else [[0, 0], [half, half], [half, half], [0, 0]]
    return tf.nn.conv2d(h, kernel, stride, pads)


def _conv(h, p, _channels, _kernel, padding, stride, activation):
    return ACTIVATIONS[activation](_convolved(h, p[0], stride, padding) + p[1])


def _deconv(h, p, channels, activation):
    kernel = tf.transpose(tf.reverse(p[0], [0, 1]), (0, 1, 3, 2))
    shape = (h.shape[0], 2 * h.shape[1], 2 * h.shape[2], channels)
    z = tf.nn.conv2d_transpose(h, kernel, shape, 2, [[0, 0], [1, 0], [1, 0], [0, 0]])
    return ACTIVATIONS[activation](z + p[1])


def _residual(h, p, _channels, stride):
    inner = tf.nn.relu(_convolved(h, p[0], stride, "HALF") + p[1])
    beside = _convolved(h, p[4], stride, "VALID") if len(p) > 4 else h
    return tf.nn.relu(_convolved(inner, p[2], 1, "HALF") + p[3] + beside)


def _pool(h, _p, size, stride):
    half = size // 2 * (size % 2)
    padded = tf.pad(h, [[0, 0], [half, half], [half, half], [0, 0]], constant_values=-np.inf)
    return tf.nn.max_pool2d(padded, size, stride, "VALID")


def _lstm(h, p, width, given):
    state = cell = tf.zeros((h.shape[0], width))
    states = []
    for z in tf.unstack(h @ p[0] + p[2], axis=1):
        i, f, g, o = tf.split(z + state @ p[1], 4, -1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
        state = tf.sigmoid(o) * tf.tanh(cell)
        states.append(state)
    return tf.stack(states, 1) if given == "all" else state


def _norm(h):
    mean, variance = tf.nn.moments(h, -1, keepdims=True)
    return (h - mean) / tf.sqrt(variance + 1e-5)


def _block(h, p, heads):
    b, t, d = h.shape
    q, k, v = (tf.transpose(tf.reshape(_norm(h) @ w, (b, t, heads, -1)), (0, 2, 1, 3)) for w in p[:3])
    scores = tf.matmul(q, k, transpose_b=True) / np.sqrt(d // heads).astype("float32")
    scores = tf.where(tf.linalg.band_part(tf.ones((t, t)), -1, 0) > 0, scores, -1e9)
    h = h + tf.reshape(tf.transpose(tf.nn.softmax(scores) @ v, (0, 2, 1, 3)), (b, t, d)) @ p[3]
    return h + tf.nn.gelu(_norm(h) @ p[4]) @ p[5]


LAYERS = {
    "dense": _dense,
    "conv": _conv,
    "deconv": _deconv,
    "residual": _residual,
    "pool": _pool,
    "mean": lambda h, _p: tf.reduce_mean(h, (1, 2)),
    "flatten": lambda h, _p: tf.reshape(h, (h.shape[0], -1)),
    "shape": lambda h, _p, *sizes: tf.reshape(h, (h.shape[0], *sizes)),
    "lstm": _lstm,
    "block": _block,
}


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    f = network(workload, weights)

    @tf.function
    def jacobian(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reshape(f(x), (workload.batch, -1))
        return tape.jacobian(y, x) if workload.whole else tape.batch_jacobian(y, x)

    x = tf.constant(x)
    return {"tensorflow batch_jacobian": lambda: jacobian(x).numpy()}
