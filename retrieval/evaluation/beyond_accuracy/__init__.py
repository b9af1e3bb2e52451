"""Measures beside accuracy: coverage, novelty, diversity."""
