"""Splits of a log, and the queries that they make."""
