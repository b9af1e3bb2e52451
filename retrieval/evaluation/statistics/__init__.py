"""Intervals and tests: bootstrap and randomisation."""
