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
            if kind == "dense":
                h = ACTIVATIONS[rest[1]](h @ p[0] + p[1])
            elif kind == "conv":
                h = ACTIVATIONS[rest[3]](tf.nn.conv2d(h, p[0], 1, rest[2]) + p[1])
            elif kind == "pool":
                h = tf.nn.max_pool2d(h, 2, 2, "VALID")
            elif kind == "flatten":
                h = tf.reshape(h, (workload.batch, -1))
            else:
                h = _block(h, p, rest[0])
        return h

    return f


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


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    f = network(workload, weights)

    @tf.function
    def jacobian(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reshape(f(x), (workload.batch, -1))
        return tape.batch_jacobian(y, x)

    x = tf.constant(x)
    return {"tensorflow batch_jacobian": lambda: jacobian(x).numpy()}
