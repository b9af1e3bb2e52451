"""What a safetensors file says of itself in words, which `safetensors.numpy.load` leaves out."""

import json
from typing import Any


def told_in(data: bytes, name: str) -> dict[str, Any]:
    """Read one entry of the metadata, which is JSON itself.

    Raises:
        KeyError: When there is none.
        ValueError: When it is something else.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    told: dict[str, Any] = json.loads(header["__metadata__"][name])
    return told
