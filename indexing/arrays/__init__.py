"""Arrays: their types, checks, ragged ones, and one that grows."""
