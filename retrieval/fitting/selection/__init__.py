"""What `fit` selects on held-out interactions: serving weights, search bounds, answers for new users."""
