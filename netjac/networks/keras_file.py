"""Loading `.keras` files, without running anything that is written in them.

A `.keras` file is a zip archive of a description (`config.json`) and weights. The description is read first, and
refused if it holds code (`Lambda` layers, Python lambdas), wraps another framework's saved program, or names classes
that the user has not registered; only then is it handed to Keras, in safe mode.

Keras's backend is fixed when Keras is imported. If the user has neither imported it nor set `KERAS_BACKEND`, it is
imported on JAX here, unless `~/.keras/keras.json` names another backend that is installed. "tensorflow" in that file is
no choice: Keras writes it there itself at its first import. The environment is left as it was.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from netjac.errors import ModelLoadError

_CODE = {
    "Lambda": "is a Lambda layer, whose Python code is stored in the file and would be run",
    "__lambda__": "holds a Python lambda, whose code is stored in the file and would be run",
    "TorchModuleWrapper": "wraps a PyTorch module, which is stored as a pickle",
    "TFSMLayer": "runs a TensorFlow SavedModel from another place",
    "JaxLayer": "wraps a JAX function, which is stored as code",
    "FlaxLayer": "wraps a Flax module, which is stored as code",
}
_OTHER_FORMATS = {
    b"\x89HDF": (
        "is an HDF5 file, Keras's old format",
        "Load it with keras.models.load_model and save it again as .keras, or pass the loaded model",
    ),
    b"\x80": ("is a pickle, which can run any code when it is opened", "Save the model with model.save('name.keras')"),
}
_FUNCTION_MODULES = ("activations", "initializers", "regularizers", "constraints", "losses", "metrics", "ops")
_SAVE_AGAIN = "Save the model again with model.save('name.keras')"


def load_keras(path: str | os.PathLike[str]) -> Any:
    """The Keras model saved at `path`. Raises `ModelLoadError` saying what is wrong with the file and what to do."""
    file = Path(path)
    config = _description(file)
    keras = _import_keras()
    _refuse_code(config, file)
    _refuse_unknown_classes(config, file, keras)
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        # The scope holds even where the user has allowed unsafe files for Keras as a whole.
        with SafeModeScope(True):
            return keras.saving.load_model(str(file), compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise _refusal(file, f"could not be read by Keras {keras.__version__}: {reason}", _SAVE_AGAIN) from error


def _description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        what = "is a directory" if file.is_dir() else "does not exist"
        raise _refusal(file, what, "Give the path of a .keras file")
    with file.open("rb") as stream:
        head = stream.read(8)
    for magic, (what, way_out) in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise _refusal(file, what, way_out)
    if file.suffix != ".keras":
        raise _refusal(file, f"ends in {file.suffix!r}", "Rename it to end in .keras if it was saved by Keras 3")
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if "config.json" not in names:
                inside = "a pickle" if any(name.endswith(".pkl") for name in names) else "no config.json"
                raise _refusal(file, f"is a zip archive with {inside} in it, not a Keras model", _SAVE_AGAIN)
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise _refusal(file, f"is cut off, corrupt or no zip archive ({error})", _SAVE_AGAIN) from error
    except ValueError as error:
        raise _refusal(file, f"has a config.json that is not valid JSON ({error})", _SAVE_AGAIN) from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise _refusal(file, "has a config.json that describes no model", _SAVE_AGAIN)
    return config


def _refuse_code(config: dict[str, Any], file: Path) -> None:
    for item in _objects(config):
        reason = _CODE.get(item["class_name"])
        if reason is not None:
            name = _name_of(item)
            raise _refusal(
                file,
                f"is refused in safe mode: {name} {reason}",
                "If you trust it, load the model yourself with keras.saving.load_model(path, safe_mode=False) "
                "and pass the model object",
            )


def _refuse_unknown_classes(config: dict[str, Any], file: Path, keras: ModuleType) -> None:
    for item in _objects(config):
        if item["class_name"] == "function":
            kind, name = "function", str(item["config"])
            built_in = any(hasattr(getattr(keras, module), name) for module in _FUNCTION_MODULES)
        else:
            kind, name = "class", str(item.get("registered_name") or item["class_name"])
            built_in = name.startswith("__") or str(item.get("module")).startswith("keras")
        if built_in or keras.saving.get_registered_object(name) is not None:
            continue
        raise _refusal(
            file,
            f"uses the {kind} {name!r}, which is not registered with Keras",
            "Decorate it with @keras.saving.register_keras_serializable() and import it before loading, "
            "or pass the model object",
        )


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialised object in a description."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and "config" in config:
            yield config
        for key, value in config.items():
            if key != "compile_config":  # losses and optimizers are not needed, nor loaded
                yield from _objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value)


def _name_of(item: dict[str, Any]) -> str:
    inner = item["config"]
    name = inner.get("name") if isinstance(inner, dict) else None
    return f"layer {name!r}" if name else "one of its objects"


def _import_keras() -> ModuleType:
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        import keras

        return keras
    os.environ["KERAS_BACKEND"] = _configured_backend() or "jax"
    try:
        import keras
    finally:
        del os.environ["KERAS_BACKEND"]
    return keras


def _configured_backend() -> str | None:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        backend = json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    chosen = isinstance(backend, str) and backend != "tensorflow" and importlib.util.find_spec(backend) is not None
    return backend if chosen else None


def _refusal(file: Path, what: str, way_out: str) -> ModelLoadError:
    return ModelLoadError(f"{file} {what}. {way_out}.")
