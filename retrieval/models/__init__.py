"""What was learned and is served, in NumPy: adapter, behaviour, user model, item space."""
