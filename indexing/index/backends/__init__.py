"""Kinds of index: flat, IVF and graphs by FAISS, and shards, with filtered search."""
