"""Training the behaviour block."""
