"""`fit`: trains each part, selects on held-out interactions, publishes what helps."""
