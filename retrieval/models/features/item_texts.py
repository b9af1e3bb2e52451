"""The texts of items, as they were embedded."""

import json
from collections import Counter
from typing import Any

from indexing.arrays import Rows
from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.cleaning import clean_text
from indexing.errors import InputError


class ItemTexts:
    """Gives the text of any rows of a bundle, its text columns joined as for the encoder.

    Attributes:
        items: Of the bundle.

    Raises:
        InputError: When the bundle has no text columns.
    """

    def __init__(self, bundle: Bundle) -> None:
        names = list(bundle.manifest.columns.get("text") or ())
        if not names:
            raise InputError(
                f"{bundle.root} has no texts of items",
                python="build it with a text column, as NamedColumns(text=…)",
                cli="build it with a text column, `--text-column NAME`",
                http="leave the cross-encoder out: it orders texts alone",
            )
        self.items = bundle.items
        self._columns = bundle.attributes.select(names)

    def __call__(self, rows: Rows) -> list[str]:
        """Give one text a row; empty where an item has none."""
        columns = [python_values(column) for column in self._columns.take(rows).columns]
        return [clean_text(fields, Counter()) or "" for fields in zip(*columns, strict=True)]


def metadata_entry(data: bytes, name: str) -> dict[str, Any]:
    """Read one entry of the metadata, which is JSON itself.

    Raises:
        KeyError: When there is none.
        ValueError: When it is something else.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, Any] = json.loads(header["__metadata__"][name])
    return metadata
