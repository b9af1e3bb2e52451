"""What the service says of itself: metrics for Prometheus, lines of a log, and spans for OpenTelemetry."""
