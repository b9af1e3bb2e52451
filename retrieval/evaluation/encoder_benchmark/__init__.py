"""Which encoder suits the items at hand: retrieval, probes, health and speed, measured for each."""
