"""Hypothesis without randomness, so that a suite that passed passes again."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "netjac", derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("netjac")
