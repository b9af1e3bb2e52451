"""What is dropped, repaired or quarantined on the way in, and why: one report."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from indexing.item_ids import item_id_problem

_SPACES = re.compile(r"\s+")
_SENTENCE_ENDS = ".!?…;:"


@dataclass(frozen=True)
class CleaningReport:
    """What became of the rows of a source; ``kept`` and all of ``rejected`` add up to ``rows``.

    Attributes:
        rows: Rows of the source.
        kept: Rows that became items.
        rejected: Rows that did not, by reason.
        repaired: Values that were changed, by what was done.
        ignored_columns: Columns of types that are neither text, picture nor attribute.
    """

    rows: int
    kept: int
    rejected: dict[str, int]
    repaired: dict[str, int]
    ignored_columns: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def clean_text(fields: Sequence[object], repaired: Counter[str]) -> str | None:
    """Join text fields to one text, or None when nothing is left.

    >>> clean_text(["Red  mug", None, ["kitchen", "tea"]], Counter())
    'Red mug. kitchen, tea'
    """
    parts = []
    for field in fields:
        if isinstance(field, list):
            field = ", ".join(str(part) for part in field if part is not None and str(part).strip())
        if field is None:
            continue
        if part := _clean(str(field), repaired):
            parts.append(part)
    text = ""
    for part in parts:
        text += ("" if not text else " " if text[-1] in _SENTENCE_ENDS else ". ") + part
    return text or None


def _clean(raw: str, repaired: Counter[str]) -> str:
    """Compose Unicode, take out control characters, fold white space."""
    text = unicodedata.normalize("NFC", raw)
    text = "".join(c for c in text if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cs", "Co"))
    text = _SPACES.sub(" ", text).strip()
    if text != raw:
        repaired["text tidied"] += 1
    return text


def clean_item_id(raw: object, repaired: Counter[str]) -> tuple[str | None, str | None]:
    """Give an item_id as a string, and what is wrong with it.

    >>> clean_item_id(7, Counter()), clean_item_id("", Counter())
    (('7', None), ('', 'blank item_id'))
    """
    if raw is None:
        return None, "missing item_id"
    if isinstance(raw, bool):
        return None, "item_id of type bool"
    if isinstance(raw, float) and raw.is_integer():
        repaired["item_id from a whole number"] += 1
        raw = str(int(raw))
    elif isinstance(raw, int):
        repaired["item_id from a whole number"] += 1
        raw = str(raw)
    return (raw if isinstance(raw, str) else None), item_id_problem(raw)
