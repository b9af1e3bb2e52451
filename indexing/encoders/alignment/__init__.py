"""Encoders of different spaces: a learned bridge, or separate spaces side by side."""
