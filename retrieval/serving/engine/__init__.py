"""What answers: the bundle that is served, and the admission of work."""
