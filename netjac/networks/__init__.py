"""Networks: from the model a person has to what the engine differentiates."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from netjac.errors import MissingExtraError, ModelLoadError
from netjac.networks.jax import JaxNetwork
from netjac.networks.network import Network, Spec

__all__ = ["Network", "Spec", "network_of"]

# What was traced of a model outlives the networks made of it, but holds no reference to the model: it goes with it.
_TRACES: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def network_of(model: Any, *, batched: bool | None = None, names: Any = None) -> Network:
    """The model as a `Network`; one that is one already is not made anew, and traces of a model are found again.

    A bare JAX function is wrapped afresh at every call, because it may close over values that have changed; wrap it
    once with `netjac.network` to have it traced only once.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, str | Path):
        return _from_file(Path(model))
    roots = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "torch" in roots and hasattr(model, "model_proto"):  # what torch.onnx.export returns
        return _onnx().OnnxNetwork(model.model_proto)
    if "keras" in roots or "tensorflow" in roots or "torch" in roots:
        made = _from_object(model, roots, names)
        try:
            made.traces = _TRACES.setdefault(model, {})
        except TypeError:  # neither hashable nor weakly referable: traced anew each time
            made.traces = {}
        return made
    if "onnx" in roots:
        return _onnx().OnnxNetwork(model)
    if "sklearn" in roots:
        from netjac.networks.sklearn import SklearnNetwork

        found = SklearnNetwork(model)
        found.traces = _TRACES.setdefault(model, {})
        return found
    if callable(model):
        return JaxNetwork(model, batched=bool(batched), names=names)
    raise ModelLoadError(
        f"{type(model).__name__} is no model netjac knows. Give a Keras model, a torch.nn.Module, a tf.function, a JAX "
        "function, an ONNX ModelProto, or the path of a .keras, .pt2 or .onnx file"
    )


def _from_file(path: Path) -> Network:
    if path.suffix == ".keras":
        from netjac.networks.keras_file import load_keras

        return _from_object(load_keras(path), {"keras"}, None)
    if path.suffix == ".pt2":
        try:
            import torch  # noqa: F401
        except ImportError:
            raise MissingExtraError.of("torch", "torch", "a .pt2 file") from None
        from netjac.networks.torch import load_pt2

        return load_pt2(path)
    if path.suffix == ".onnx":
        return _onnx().load_onnx(path)
    if not path.exists():
        raise ModelLoadError(f"there is no file {str(path)!r}")
    pickled = path.suffix in (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin")
    why = "it may hold a pickle, which can run any code, and is not opened" if pickled else "its ending is not known"
    raise ModelLoadError(
        f"{str(path)!r} cannot be taken as a model: {why}. Give a .keras file (model.save), a .pt2 file "
        "(torch.export.save), an .onnx file, or build the model in Python and pass the object: on the command line as "
        "module:attribute, where the module may load what you trust (joblib, say)"
    )


def _onnx() -> Any:
    """The front end of ONNX. Raises `MissingExtraError` where ONNX is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtraError.of("onnx", "onnx", "an ONNX model") from None
    from netjac.networks import onnx as front_end

    return front_end


def _from_object(model: Any, roots: set[str], names: Any) -> Network:
    if "keras" in roots:
        from netjac.networks.keras import keras_network

        return keras_network(model)
    if "torch" in roots:
        from netjac.networks.torch import TorchNetwork

        return TorchNetwork.of(model)
    from netjac.networks.tensorflow import TensorFlowNetwork

    return TensorFlowNetwork(model)
