"""HTTP: what surrounds every request, who may ask, and the routes."""
