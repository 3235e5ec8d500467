"""What a network's weights and inputs were when a question was put to it.

TensorFlow's variables give way to new ones while they are held, so to read them is to keep them. torch's tensors are written
in place, by an optimiser's step or `load_state_dict`, and what was read shows the new numbers; they are told by torch's own
count of writes. (What is written past that count, through `.data`, is not seen.) JAX's arrays are deleted by a step that
donates them, as Keras's training does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from netjac.errors import ChangedError
from netjac.networks.arrays import framework_of


@dataclass(frozen=True, eq=False)
class Held:
    """The parameters by name as they were read; of torch's tensors that they or the inputs lie in, name and count of writes."""

    parameters: Mapping[str, Any]
    counts: tuple[tuple[str, Any, int], ...]

    @classmethod
    def now(cls, parameters: Mapping[str, Any], lying_in: Iterable[tuple[str, Any]]) -> Held:
        """A tensor made in inference mode has no count, and is not looked after."""
        tensors = ((n, t) for n, t in lying_in if framework_of(t) == "torch" and not t.is_inference())
        return cls(parameters, tuple((n, t, t._version) for n, t in tensors))

    def refuse_changed(self, whose: str) -> None:
        """Raises `ChangedError` where a number is no longer what it was."""
        for name, tensor, count in self.counts:
            if tensor._version != count:
                raise ChangedError.of(name, whose)
        for name, array in self.parameters.items():
            if isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer) and array.is_deleted():
                raise ChangedError.of(name, whose)


NOTHING = Held({}, ())
