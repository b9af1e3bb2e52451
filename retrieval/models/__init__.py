"""Learned models as they are served, in NumPy: adapter, behaviour, user model, item space."""
