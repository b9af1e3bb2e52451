"""Changes of a bundle: items are added, replaced, deleted, and attributes updated."""
