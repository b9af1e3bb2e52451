"""Scenarios: named configurations of `/recommend`, shared out among users, and which of them users take more from."""

from retrieval.serving.scenarios.scenarios import Scenarios, ScenarioSettings
from retrieval.serving.scenarios.take_rates import TakeRates, take_rates

__all__ = ["ScenarioSettings", "Scenarios", "TakeRates", "take_rates"]
