"""Training the second stage."""
