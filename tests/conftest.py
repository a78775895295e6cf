"""Settings of every test: no property is timed, the machine decides how long it takes."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("trustnode", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trustnode")
