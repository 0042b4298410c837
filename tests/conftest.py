"""Of all tests: how long hypothesis may think. Machines are shared, and the clock is no property of the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
