"""The second stage: sources of candidates, features, and the head that orders them."""
