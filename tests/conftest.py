"""Nothing is left to chance, so that a suite that passed passes again; programs compiled cheaply, and dropped in time.

Most of the suite's time XLA compiles programs that run once. Its plainer code generator, without optimisation, takes half
the time for the same mathematics. Where the rounding or the size of the very code that users get is what is tested
(`AS_USERS_COMPILE`), it optimises as ever, and what tests start as processes (commands, the documents' examples) runs as
users run it. `XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0 make test` tests everything so.
"""

import os
import random
import sys
from contextlib import suppress
from importlib.metadata import version

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.browser import browser

__all__ = ["browser"]

settings.register_profile(
    "netjac", derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("netjac")

# Where torch is one for CUDA, Triton has to be there before TensorFlow: see `netjac.networks.triton`.
with suppress(ImportError):
    import triton  # noqa: F401

# XLA ends a process that gives it a flag it does not know, and flags come and go.
SETTINGS = {"JAX_DISABLE_MOST_OPTIMIZATIONS": os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")}
if version("jaxlib").startswith("0.10.") and "XLA_FLAGS" not in os.environ:
    SETTINGS["XLA_FLAGS"] = os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    jax.jit(lambda x: x + 1)(0)  # the flags are read now
    del os.environ["XLA_FLAGS"]
CHEAPLY = SETTINGS["JAX_DISABLE_MOST_OPTIMIZATIONS"] not in ("0", "false", "")
AS_USERS_COMPILE = ("certified", "test_compiled.py", "test_calibration.py")
# Their processes' numbers must be those of the test's own process to the last bit.
PROCESSES_COMPILE_ALIKE = ("test_kill.py", "test_distribute.py")

LONGEST = (
    "test_keras.py",
    "test_docs.py",
    "test_properties.py",
    "test_examples.py",
    "test_structures.py",
    "test_alive.py",
    "test_parameter_matrix.py",
    "test_second_derivatives.py",
    "test_random_graphs.py",
)


def pytest_collection_modifyitems(items):
    """The files that take longest first, so that no worker waits for one at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


def _seed():
    """Keras draws its weights' seeds by `random`, scikit-learn by NumPy's one generator."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(autouse=True)
def _seeded(_seeded_file):
    _seed()


@pytest.fixture(autouse=True, scope="module")
def _seeded_file():
    """What a file's own fixtures draw must not hang on which file its worker ran before."""
    _seed()


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_go_with_their_file(request):
    """A worker that keeps every compiled program grows to gigabytes."""
    optimised = any(name in request.path.parts for name in AS_USERS_COMPILE)
    jax.config.update("jax_disable_most_optimizations", CHEAPLY and not optimised)
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name in PROCESSES_COMPILE_ALIKE:
            for name, value in SETTINGS.items():
                patch.setenv(name, value)
        yield
    jax.clear_caches()
