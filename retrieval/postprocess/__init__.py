"""After ranking: blending objectives, diversity, business rules."""
