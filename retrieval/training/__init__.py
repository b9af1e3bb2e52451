"""Learning with torch: the only part of `retrieval` that imports it."""
