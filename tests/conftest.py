"""What holds for every test: examples that are drawn alike in each run, and no clock that decides."""

from hypothesis import HealthCheck, settings

# A test that fails must fail again; and how long an example takes is another thing on a busy machine.
settings.register_profile(
    "alike", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")
