"""Retrieval from one modality to another, on pairs."""
