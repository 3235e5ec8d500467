"""An ONNX model's values by others: ONNX Runtime where it is installed, else ONNX's own reference, which is slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from netjac.errors import UnsupportedOperationError


class Runtime:
    """Runs a model, made ready at its first use."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        self._session: Any = None
        self.name = "ONNX Runtime"

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs of these names. Raises `UnsupportedOperationError` where the model cannot be run."""
        try:
            if self._session is None:
                self._session = self._made()
            results = self._session.run(list(outputs), dict(inputs))
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            told = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UnsupportedOperationError(
                f"{self.name} cannot run the model ({told}); netjac's own values are those of value_and_jacobian"
            ) from error
        return [_as_array(result) for result in results]

    def _made(self) -> Any:
        try:
            import onnxruntime
        except ImportError:
            from onnx.reference import ReferenceEvaluator

            self.name = "ONNX's reference"
            return ReferenceEvaluator(self._proto)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            self._proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _as_array(result: Any) -> np.ndarray:
    """A list of maps from classes to scores as the array of the scores."""
    if isinstance(result, list) and result and isinstance(result[0], dict):
        return np.stack([np.asarray(list(entry.values())) for entry in result])
    return np.asarray(result)
