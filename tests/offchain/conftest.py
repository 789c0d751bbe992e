"""Hypothesis, for all off-chain tests: a busy machine is no reason to fail."""

from hypothesis import HealthCheck, settings

settings.register_profile("waypost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("waypost")
