"""What is told of the columns of a source, in words: what can be compared, what is text, what is left out."""

from collections.abc import Mapping
from typing import Any


def columns_in_words(cleaning: Mapping[str, Any], attributes: Mapping[str, str]) -> dict[str, str]:
    """Give what a cleaning report and the attributes say of columns, by what it is.

    >>> columns_in_words({"as_text": {"price": "because of 'call us' in row 3"}}, {"price": "text"})
    {'attributes': 'price (text)', 'read as text': "price, because of 'call us' in row 3"}
    """
    left_out = cleaning.get("columns_left_out", {})
    told = {
        "attributes": ", ".join(f"{name} ({kind})" for name, kind in attributes.items()),
        "read as": ", ".join(cleaning.get("read_as", ())),
        "read as text": "; ".join(f"{name}, {reason}" for name, reason in cleaning.get("as_text", {}).items()),
        "columns left out": "; ".join(f"{name}: {reason}" for name, reason in left_out.items()),
    }
    return {name: text for name, text in told.items() if text}
