"""The service: answers over HTTP, and the log of live events."""
