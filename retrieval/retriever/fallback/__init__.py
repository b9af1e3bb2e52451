"""What needs no user: trending, popular and newest items, and the chain that fills short lists with them."""

from retrieval.retriever.fallback.fill_short_lists import FallbackWarning

__all__ = ["FallbackWarning"]
