"""Interactions: reading logs, histories of users, and what is known of users."""
