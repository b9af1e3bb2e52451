"""`Retriever`: loads a bundle and answers queries."""

from retrieval.retriever.retriever import Retriever

__all__ = ["Retriever"]
