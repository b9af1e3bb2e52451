"""The columns of a source in words: which were taken, which are attributes or text, which are left out."""

from collections.abc import Mapping
from typing import Any


def columns_in_words(
    cleaning: Mapping[str, Any], attributes: Mapping[str, str], taken: Mapping[str, str]
) -> dict[str, str]:
    """Describe what a cleaning report says, the attributes, and the columns that were taken.

    >>> columns_in_words({"as_text": {"price": "because of 'call us' in row 3"}}, {"price": "text"}, {"item_id": "sku"})
    {'columns': 'item_id: sku', 'attributes': 'price (text)', 'read as text': "price, because of 'call us' in row 3"}
    """
    left_out = cleaning.get("columns_left_out", {})
    words = {
        "columns": "; ".join(f"{what}: {names}" for what, names in taken.items()),
        "attributes": ", ".join(f"{name} ({kind})" for name, kind in attributes.items()),
        "read as": ", ".join(cleaning.get("read_as", ())),
        "read as text": "; ".join(f"{name}, {reason}" for name, reason in cleaning.get("as_text", {}).items()),
        "columns left out": "; ".join(f"{name}: {reason}" for name, reason in left_out.items()),
    }
    return {name: text for name, text in words.items() if text}
