"""What holds for every test: examples that are drawn alike in each run, and neither a clock nor a terminal's width."""

import os

from hypothesis import HealthCheck, settings

# A test that fails must fail again; and how long an example takes is another thing on a busy machine.
settings.register_profile(
    "alike", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")


def pytest_runtest_setup() -> None:
    """Tables are as wide as they are: who runs the tests, as pytest-xdist, may set a width."""
    os.environ.pop("COLUMNS", None)
