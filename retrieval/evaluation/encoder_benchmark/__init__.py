"""Rank encoders on a catalogue: retrieval, probes, health and speed."""
