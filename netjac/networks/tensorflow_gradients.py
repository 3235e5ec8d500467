"""TensorFlow's own reverse mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def pulled_back(
    run: Callable[[], Sequence[Any]], sources: Sequence[Any], cotangents: Sequence[Any | None]
) -> list[Any]:
    """The cotangents of `run()`'s outputs, None standing for zero, pulled back to `sources`; zero where unconnected."""
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for source in sources:
            tape.watch(source)
        outputs = run()
    seeded = [
        (y, tf.zeros_like(y) if u is None else tf.cast(u, y.dtype))
        for y, u in zip(outputs, cotangents, strict=True)
        if y.dtype.is_floating
    ]
    gradients = tape.gradient(
        [y for y, _ in seeded],
        list(sources),
        output_gradients=[u for _, u in seeded],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return [tf.convert_to_tensor(gradient) for gradient in gradients]
