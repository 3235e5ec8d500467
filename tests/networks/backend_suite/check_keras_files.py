"""`.keras` files: read in safe mode, refused with the reason."""

import os
import pickle
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras_cases import L, set_weights

from netjac.errors import ModelLoadError
from netjac.networks.keras import keras_network
from netjac.networks.keras_file import load_keras


class Doubled(L.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable(package="checks")
class Registered(Doubled):
    pass


@keras.saving.register_keras_serializable(package="checks")
class Applied(L.Layer):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return super().get_config() | {"function": keras.saving.serialize_keras_object(self.function)}


def doubled(x):
    return 2 * x


def saved(folder, *layers):
    model = set_weights(keras.Sequential([keras.Input((3,)), *layers]))
    model.compile(loss=doubled)
    model.save(folder / "model.keras")
    return model, folder / "model.keras"


def test_a_saved_model_comes_back(tmp_path):
    model, path = saved(tmp_path, L.Dense(2), L.BatchNormalization(), Registered())
    x = np.ones((2, 3), "float32")
    loaded, original = keras_network(load_keras(path)), keras_network(model)
    assert (loaded.evaluate([x])[0] == original.evaluate([x])[0]).all()
    assert list(loaded.layer_kinds().values()) == ["Dense", "BatchNormalization", "Registered"]


def test_a_lambda_layer_is_refused_before_its_code_is_read(tmp_path):
    _, path = saved(tmp_path, L.Dense(2), L.Lambda(lambda x: 2 * x, name="twice"))
    with pytest.raises(ModelLoadError, match=r"model.keras is refused in safe mode: layer 'twice' is a Lambda layer"):
        load_keras(path)


def test_a_lambda_is_refused_even_where_the_user_has_allowed_unsafe_files(tmp_path):
    _, path = saved(tmp_path, Applied(lambda x: 2 * x))
    keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(ModelLoadError, match="holds a Python lambda"):
            load_keras(path)
    finally:
        keras.src.backend.common.global_state.set_global_attribute("safe_mode_saving", None)


def test_a_class_or_function_that_is_not_registered_is_named(tmp_path):
    _, path = saved(tmp_path, Doubled())
    with pytest.raises(
        ModelLoadError, match=r"uses the class 'Doubled', which is not registered .*or pass the model object"
    ):
        load_keras(path)
    _, path = saved(tmp_path, L.Dense(2, activation=doubled))
    with pytest.raises(ModelLoadError, match="uses the function 'doubled', which is not registered"):
        load_keras(path)


def test_a_damaged_file_is_refused(tmp_path):
    _, path = saved(tmp_path, L.Dense(64))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelLoadError, match="is cut off, corrupt or no zip archive"):
        load_keras(path)
    middle = len(content) // 2
    path.write_bytes(
        content[:middle] + bytes(255 - byte for byte in content[middle : middle + 64]) + content[middle + 64 :]
    )
    with pytest.raises(ModelLoadError, match=r"could not be read by Keras 3\.|cut off, corrupt"):
        load_keras(path)


def test_weights_that_do_not_fit_the_description_are_refused(tmp_path):
    _, path = saved(tmp_path, L.Dense(2))
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        target.writestr("config.json", source.read("config.json").replace(b'"units": 2', b'"units": 5'))
        for name in ("metadata.json", "model.weights.h5"):
            target.writestr(name, source.read(name))
    with pytest.raises(ModelLoadError, match="could not be read by Keras"):
        load_keras(other)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("opened",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Bomb()), "is a pickle, which can run any code when it is opened"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file, Keras's old format"),
        (b"hello", "no zip archive"),
        (b"", "no zip archive"),
    ],
)
def test_other_files_are_refused_unopened(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=message):
        load_keras(path)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"archive/data.pkl": b"x"}, "a zip archive with a pickle in it"),
        ({"readme.txt": b"x"}, "no config.json"),
        ({"config.json": b"{"}, "not valid JSON"),
        ({"config.json": b"[1]"}, "describes no model"),
    ],
)
def test_archives_of_other_things_are_refused(entries, message, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ModelLoadError, match=message):
        load_keras(path)


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="does not exist"):
        load_keras(tmp_path / "none.keras")
    with pytest.raises(ModelLoadError, match="is a directory"):
        load_keras(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelLoadError, match=r"ends in '\.bin'"):
        load_keras(tmp_path / "model.bin")


def imported_backend(path, **environment):
    """The backend that Keras has after loading a file in a fresh process, and KERAS_BACKEND there."""
    code = (
        "import sys, os; from netjac.networks.keras_file import load_keras; assert 'keras' not in sys.modules;"
        "load_keras(sys.argv[1]); import keras; print(keras.config.backend(), os.environ.get('KERAS_BACKEND'))"
    )
    inherited = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_keras_is_imported_on_jax_unless_the_user_has_chosen(tmp_path):
    _, path = saved(tmp_path, L.Dense(2))
    home = tmp_path / "home"
    home.mkdir()
    assert imported_backend(path, KERAS_HOME=str(home)) == ["jax", "None"]
    assert imported_backend(path, KERAS_HOME=str(home)) == ["jax", "None"]  # Keras has written its default there by now
    (home / "keras.json").write_text('{"backend": "torch"}')
    assert imported_backend(path, KERAS_HOME=str(home)) == ["torch", "None"]
    assert imported_backend(path, KERAS_HOME=str(home), KERAS_BACKEND="jax") == ["jax", "jax"]
