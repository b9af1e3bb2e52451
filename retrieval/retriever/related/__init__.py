"""Related items, and users for items."""
