"""Where items come from: each reader gives record batches, as often as asked."""
