"""Interactions: reading logs, histories of users, and user profiles."""

from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles

__all__ = ["Interactions", "Profiles"]
