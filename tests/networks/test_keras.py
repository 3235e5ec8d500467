"""Keras on its three backends. The backend is fixed at its import, so each one's checks have a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BACKENDS = ("jax", "tensorflow", "torch")
SUITE = Path(__file__).parent / "backend_suite"
ONLY = {"jax": ["check_keras_files.py"], "tensorflow": ["check_tensorflow.py"], "torch": []}
EVERYWHERE = ["check_layers.py", "check_keras.py", "check_architectures.py"]
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Each backend's report, and the file with the derivatives that it found."""
    folder = tmp_path_factory.mktemp("backends")
    found = {}
    for backend in BACKENDS:
        results = folder / f"{backend}.npz"
        environment = os.environ | {
            "KERAS_BACKEND": backend,
            "NETJAC_RESULTS": str(results),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(SUITE.parents[2]), os.environ.get("PYTHONPATH")])),
        }
        files = [str(SUITE / name) for name in EVERYWHERE + ONLY[backend]]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--no-header",
            *files,
        ]
        done = subprocess.run(
            command, env=environment, cwd=SUITE, capture_output=True, text=True, timeout=1200, check=False
        )
        found[backend] = (done, results)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_check_passes_on(backend, runs):
    done, _ = runs[backend]
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_the_same_weights_give_the_same_derivatives_on(backend, runs):
    reference, other = np.load(runs["jax"][1]), np.load(runs[backend][1])
    assert set(reference.files) == set(other.files)
    for dtype, tolerance in TOLERANCE.items():
        groups = {name.rpartition("/")[0] for name in reference.files if name.startswith(dtype)}
        assert groups
        for group in sorted(groups):
            ours, theirs = (
                np.concatenate([file[name].ravel() for name in sorted(file.files) if name.rpartition("/")[0] == group])
                for file in (reference, other)
            )
            assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(ours), group
