import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

FILES = {"digits.keras", "digits.npy", "jacobian.npz", "plan.txt", "check.json",
         "jacobian.png", "matrix.png", "sensitivity.png", "report.html"}  # fmt: skip
TWICE = """
import os, sys
from netjac.cli import main
first = main(["demo", "--quick", "-o", sys.argv[1]])
print("----")
sys.exit(first or main(["demo", "--quick", "-o", sys.argv[2], "--json"]))
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The story on the terminal, the JSON of a second run, and the folders of both, from a process without a backend."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    command = [sys.executable, "-c", TWICE, str(folder / "a"), str(folder / "b")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    story, _, told = done.stdout.partition("----\n")
    return story, json.loads(told), folder / "a", folder / "b"


def test_the_demo_tells_its_story_with_the_numbers_of_this_run(demo):
    story, told, *_ = demo
    accuracy = float(re.search(r"([\d.]+)% of the 450 images", story)[1])
    assert accuracy > 95
    assert accuracy == pytest.approx(100 * told["accuracy"], abs=0.06)
    assert told["backend"] == "jax"
    for part in ("MaxPooling2D", "plain reverse", "(16, 10, 8, 8, 1): 16 samples", "is right", "∂ logit 9"):
        assert part in story


def test_the_demos_accuracy_is_that_of_the_network_it_saved(demo):
    from sklearn.datasets import load_digits

    _, told, folder, _ = demo
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))[:450]
    np.save(folder / "held_out.npy", (loaded.images / 16).astype("float32")[order][..., None])
    code = (
        "import keras, numpy as np, sys; m = keras.saving.load_model(sys.argv[1]); "
        "np.save(sys.argv[3], m.predict(np.load(sys.argv[2]), verbose=0).argmax(-1))"
    )
    paths = [str(folder / name) for name in ("digits.keras", "held_out.npy", "found.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], env=os.environ | {"KERAS_BACKEND": "jax"}, check=True)
    assert np.mean(np.load(paths[2]) == loaded.target[order]) == pytest.approx(told["accuracy"], abs=1e-9)


def test_the_demos_check_passes_closely(demo):
    _, told, folder, _ = demo
    check = json.loads((folder / "check.json").read_text())
    assert check["passed"]
    assert told["check"]["passed"]
    assert check["framework_error"] < 1e-5
    # That of float32; an input rounded on its way into the float64 network would show here.
    assert check["difference_error"] < 1e-5
    assert check["entries"] >= 640


def test_the_demo_writes_its_files_and_names_them(demo):
    story, told, folder, other = demo
    assert {file.name for file in other.iterdir()} == FILES
    assert {os.path.basename(file) for file in told["files"]} == FILES
    assert all((folder / name).stat().st_size > 100 for name in FILES)
    assert all(str(folder / name) in story for name in FILES)
    for name in ("jacobian.png", "matrix.png", "sensitivity.png"):
        assert (folder / name).read_bytes()[:4] == b"\x89PNG"
    assert "What moves the outputs" in (folder / "report.html").read_text(encoding="utf-8")
    assert "order:" in (folder / "plan.txt").read_text(encoding="utf-8")


def test_two_runs_of_the_demo_give_the_same_jacobian(demo):
    *_, folder, other = demo
    first, second = (np.load(place / "jacobian.npz") for place in (folder, other))
    assert first["jacobian"].shape == (16, 10, 8, 8, 1)
    assert np.allclose(first["jacobian"], second["jacobian"], rtol=1e-3, atol=1e-3)
    assert (first["labels"] == second["labels"]).all()


def test_a_file_in_the_way_of_the_demos_folder_is_refused(tmp_path, capsys):
    from netjac.cli import main

    (tmp_path / "taken").write_text("")
    assert main(["demo", "-o", str(tmp_path / "taken")]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err
