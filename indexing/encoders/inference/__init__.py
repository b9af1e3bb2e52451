"""Running encoders: checkpoints, precision, batching, fast attention, fingerprints."""
