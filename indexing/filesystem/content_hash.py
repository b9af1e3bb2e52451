"""The hash by which contents are known."""

import hashlib


def content_hash(content: str | bytes) -> str:
    """Name a text or the bytes of a file by its content (128-bit BLAKE2b)."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()


HASH_BYTES = 16
