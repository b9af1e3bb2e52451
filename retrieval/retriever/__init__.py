"""`Retriever`: loads a bundle and answers queries."""
