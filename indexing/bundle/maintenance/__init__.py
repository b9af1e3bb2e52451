"""Keeping a bundle well: compact, roll back, verify, repair."""
