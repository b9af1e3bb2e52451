"""Composed queries: weighted sums of texts, pictures, sounds, items and vectors, and how they are written as text."""

from retrieval.retriever.queries.query import Query, QueryPart
from retrieval.retriever.queries.syntax import parse_query, parse_words

__all__ = ["Query", "QueryPart", "parse_query", "parse_words"]
