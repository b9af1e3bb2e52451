"""Embeddings: encoded once, kept in shards with status and reason, fused into item vectors."""
