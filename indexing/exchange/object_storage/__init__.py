"""Bundles in object storage: pushed as numbered states of files that are named by content, and pulled."""
