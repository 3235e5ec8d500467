"""Hypothesis without randomness, so that a suite that passed passes again; compiled programs dropped after each file."""

import jax
import pytest
from hypothesis import HealthCheck, settings

from tests.browser import browser

__all__ = ["browser"]

settings.register_profile(
    "netjac", derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("netjac")

LONGEST = "test_keras.py"


def pytest_collection_modifyitems(items):
    """The file that takes longest first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_go_with_their_file():
    """A worker that keeps every compiled program grows to gigabytes."""
    yield
    jax.clear_caches()
