"""A TensorFlow graph as a JAX function, through tf2jax.

tf2jax looks operations up in a table; for the time of a conversion or a trace, one of ours is laid over it.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import jax

from netjac.errors import MissingExtraError, StochasticNetworkError, UnsupportedOperationError
from netjac.networks.tensorflow_graph import PreparedGraph, nodes_of
from netjac.networks.tensorflow_loops import while_operation
from netjac.networks.tensorflow_operations import OPERATIONS
from netjac.points import mark

_LOCK = threading.RLock()
_DRAWS = re.compile(
    r"(Stateful(Uniform|StandardNormal)|Random|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial).*"
)
_DRAWS_FROM_SEED = re.compile(r"Stateless(Random|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|Shuffle).*")


def import_tf2jax() -> ModuleType:
    try:
        import tf2jax
    except ImportError:
        raise MissingExtraError.of("tf2jax", "tensorflow", "a TensorFlow network") from None
    return tf2jax


class Conversion:
    """A concrete function, converted once and good for every batch size that it was traced for.

    `points` names identities of the graph, by the node's name; `layer_of` tells the layer that a node belongs to;
    `dtypes` is (old, new) where the graph's floating dtype is to become another.
    """

    def __init__(
        self,
        concrete: Any,
        points: Callable[[str], str | None],
        layer_of: Callable[[str], str],
        dtypes: tuple[str, str] | None = None,
    ) -> None:
        tf2jax = import_tf2jax()
        self._points = points
        prepared = PreparedGraph(concrete, dtypes)
        with self._operations() as known:
            _refuse_unknown(prepared.graphdef, known, layer_of)
            self._function, _ = tf2jax.convert(prepared)

    def __call__(self, variables: Mapping[str, Any], inputs: Iterable[Any]) -> list[Any]:
        """The flat outputs; variables by their names in tf2jax."""
        # Functions inside the graph (loops, branches) are only converted at the first call.
        with self._operations():
            outputs, _ = self._function(dict(variables), *inputs)
        return list(outputs)

    @contextlib.contextmanager
    def _operations(self) -> Iterator[dict[str, Any]]:
        from tf2jax._src import ops

        ours = {**OPERATIONS, "Identity": self._identity, "While": while_operation, "StatelessWhile": while_operation}
        table = ops._jax_ops
        with _LOCK, import_tf2jax().override_config("strict_shape_check", False):
            before = dict(table)
            table.update(ours)
            try:
                yield table
            finally:
                table.clear()
                table.update(before)

    def _identity(self, node: Any) -> Callable[[Any], Any]:
        name = self._points(node.name)

        def function(x: Any) -> Any:
            return mark(x, name) if name is not None and isinstance(x, jax.core.Tracer) else x

        return function


def _refuse_unknown(graphdef: Any, known: Mapping[str, Any], layer_of: Callable[[str], str]) -> None:
    for node in nodes_of(graphdef):
        where = f"layer {layer_of(node.name)!r} (node {node.name!r})"
        if _DRAWS.fullmatch(node.op):
            raise StochasticNetworkError(
                f"{where} draws random numbers by {node.op}, so the network has no single Jacobian. "
                "Put it in inference mode, or take it out of the model."
            )
        if _DRAWS_FROM_SEED.fullmatch(node.op):
            raise UnsupportedOperationError(
                f"{where} draws numbers from a fixed seed by {node.op}, which no other framework draws alike. "
                'Draw them once and keep them as a constant, or compute with engine="framework".'
            )
        if node.op not in known:
            raise UnsupportedOperationError(
                f"{where} uses TensorFlow's operation {node.op}, which netjac has no rule for. "
                'Replace the operation, or compute with engine="framework".'
            )
