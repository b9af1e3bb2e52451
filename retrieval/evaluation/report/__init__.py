"""An evaluation as one page: figures, a map of the space, examples, and a comparison of two."""
