"""Where quality is lost: by slices, by groups, by the index."""
