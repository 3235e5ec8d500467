"""A Keras callback that watches gradient flow; its class is made when it is first asked for, so that Keras stays unimported."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from netjac.analysis.flow.monitor import EVERY, SAMPLES, FlowMonitor
from netjac.analysis.flow.spectrum import FlowThresholds


def flow_callback(
    X: Any,
    *,
    every: int = EVERY,
    of: str = "output",
    layers: Sequence[str] | None = None,
    samples: int = SAMPLES,
    thresholds: FlowThresholds | None = None,
) -> Any:
    """A Keras callback for `model.fit(callbacks=[...])` on any backend: records at the start, after each `every` batches, and
    at the end. `callback.history` has the records; the rest is as in `netjac.FlowMonitor`.

    It changes nothing of the training: weights, random state and moving statistics are bit for bit what they are without.
    """
    options = {"every": every, "of": of, "layers": layers, "samples": samples, "thresholds": thresholds}
    return _made()(X, options)


@functools.cache
def _made() -> type:
    import keras

    class FlowCallback(keras.callbacks.Callback):
        """Gradient flow during `fit`: see `netjac.flow_callback`."""

        def __init__(self, X: Any, options: dict[str, Any]) -> None:
            super().__init__()
            self._X, self._options = X, options
            self._before = 0
            self.monitor: FlowMonitor | None = None

        @property
        def history(self) -> Any:
            """The records so far; None before training."""
            return None if self.monitor is None else self.monitor.history

        def on_train_begin(self, logs: Any = None) -> None:
            if self.monitor is None:
                self.monitor = FlowMonitor(self.model, self._X, **self._options)
                self.monitor.record()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            assert self.monitor is not None
            self._before = self.monitor.steps

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            # Before the next batch rather than after this one: who asks to be called after batches keeps Keras from handing
            # its steps on without waiting for their losses, and trainings on JAX then take up to twice as long.
            self._now_at(self._before + batch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.monitor is not None
            known = self.params.get("steps")
            self._now_at(self.monitor.steps + 1 if known is None else self._before + known)

        def _now_at(self, steps: int) -> None:
            """So many batches are done; several may be in one execution."""
            assert self.monitor is not None
            known, self.monitor.steps = self.monitor.steps, steps
            if steps // self.monitor.every > known // self.monitor.every:
                # JAX's trainer keeps the weights to itself within an epoch; asking for the model brings them back.
                _ = self.model
                self.monitor.record()

        def on_train_end(self, logs: Any = None) -> None:
            assert self.monitor is not None
            if self.monitor.history.records[-1].step != self.monitor.steps:
                self.monitor.record()

    return FlowCallback
