"""The items of a source: columns, cleaning, validation, and what is quarantined."""
