"""Of all tests: what hypothesis tries, and for how long. Machines are shared, and the clock is no property of the code.

`shared` tries the same examples in every run, so that a run says something about a change alone. Others are looked for
with `--hypothesis-profile explore`; what it finds becomes an `@example`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("shared", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
