"""Features of items: attributes, words, vectors, counts."""
