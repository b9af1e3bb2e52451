"""Trains the parts of a model, and keeps those that help."""
