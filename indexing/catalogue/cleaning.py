"""What is dropped, repaired or quarantined on the way in, and why: one report."""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from indexing.catalogue.arrow_values import OutOfRange
from indexing.catalogue.item_ids import item_id_problem
from indexing.media.files import FileSource
from indexing.media.remote_files import MAX_SHOWN, RemoteFolder, shown_url

MAX_TEXT_LENGTH = 8192  # characters; no encoder reads further, and tokenizers need hundreds of bytes for each
TEXT_CUT = f"text cut to {MAX_TEXT_LENGTH} characters"
MAX_EXACT_INTEGER = 2**53  # whole numbers beyond share their floating number with others
_SPACES = re.compile(r"\s+")
_SENTENCE_ENDS = ".!?…;:"
_REMOVED = ("Cc", "Cs", "Co")  # control, surrogate, private use; format characters join emoji and stay


@dataclass(frozen=True)
class CleaningReport:
    """What became of the rows of a source; ``kept`` and all of ``rejected`` add up to ``rows``.

    Attributes:
        rows: Rows of the source.
        kept: Rows that became items.
        rejected: Rows that did not, by reason.
        repaired: Values that were changed, by what was done.
        left_out: Files of a folder that are no rows and were not looked at, by what they are.
        columns_left_out: Columns that are neither text, file nor attribute, with the reason.
        as_text: Columns that are text although most of their values are numbers, dates or booleans, with the reason.
        read_as: How the source was read, and which columns were taken for what, where that had to be found out.
    """

    rows: int
    kept: int
    rejected: dict[str, int]
    repaired: dict[str, int]
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    columns_left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    as_text: dict[str, str] = dataclasses.field(default_factory=dict)
    read_as: tuple[str, ...] = ()

    @property
    def ignored_columns(self) -> tuple[str, ...]:
        """Names of the columns that were left out."""
        return tuple(self.columns_left_out)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def reason_kind(reason: str) -> str:
    """Return what a reason says before its colon, behind which it names rows, files and values.

    >>> reason_kind("duplicate item_id: first in row 3"), reason_kind("image is none of JPEG, PNG")
    ('duplicate item_id', 'image is none of JPEG, PNG')
    """
    return reason.split(":")[0]


def clean_text(fields: Sequence[object], repaired: Counter[str]) -> str | None:
    """Join text fields to one text, or None when nothing is left.

    >>> clean_text(["Red  mug", None, ["kitchen", "tea"]], Counter())
    'Red mug. kitchen, tea'
    """
    parts = []
    for value in fields:
        if isinstance(value, list):
            cleaned = (_clean(str(part), repaired) for part in value[:MAX_TEXT_LENGTH] if part is not None)
            part = ", ".join(filter(None, cleaned))
        else:
            part = "" if value is None else _clean(str(value), repaired)
        if part:
            parts.append(part)
    text = ""
    for part in parts:
        text += ("" if not text else " " if text[-1] in _SENTENCE_ENDS else ". ") + part
    if len(text) > MAX_TEXT_LENGTH:
        repaired[TEXT_CUT] += 1
        text = text[:MAX_TEXT_LENGTH]
    return text or None


def _clean(raw: str, repaired: Counter[str]) -> str:
    """Compose Unicode, take out control characters, fold white space; nothing is left of what nobody can see."""
    if len(raw) > MAX_TEXT_LENGTH:
        repaired[TEXT_CUT] += 1
        raw = raw[:MAX_TEXT_LENGTH]
    text = unicodedata.normalize("NFC", raw)
    if not text.isprintable():
        kinds = [unicodedata.category(c) for c in text]
        if all(kind[0] in "CZ" for kind in kinds):
            text = ""
        # White space first: a form feed between two words is a control character too, and they must not be joined.
        letters = zip(text, kinds, strict=False)
        text = "".join(" " if c.isspace() else c for c, kind in letters if c.isspace() or kind not in _REMOVED)
    text = _SPACES.sub(" ", text).strip()
    if text != raw:
        repaired["text tidied"] += 1
    return text


def clean_item_id(raw: object, repaired: Counter[str]) -> tuple[str | None, str | None]:
    """Return an item_id as a string, and what is wrong with it.

    >>> clean_item_id(7, Counter()), clean_item_id("", Counter())
    (('7', None), ('', 'blank item_id'))
    """
    if raw is None:
        return None, "missing item_id"
    if isinstance(raw, bool):
        return None, "item_id of type bool"
    if isinstance(raw, float) and raw != raw:  # NaN
        return None, "missing item_id"
    if (isinstance(raw, float) and not (raw.is_integer() and abs(raw) <= MAX_EXACT_INTEGER)) or (
        isinstance(raw, Decimal) and raw != raw.to_integral_value()
    ):
        return None, f"item_id is a number that is not whole, or too large to be exact: {raw}"
    if isinstance(raw, OutOfRange):
        return None, f"item_id of a date or time out of range: write it as text, {raw}"
    if isinstance(raw, bytes):
        return None, f"item_id of bytes: write it as text, {raw[:8].hex()} in hexadecimal digits"
    if isinstance(raw, float | Decimal):
        repaired["item_id from a whole number"] += 1
        raw = str(int(raw))
    elif isinstance(raw, int):
        repaired["item_id from a whole number"] += 1
        raw = str(raw)
    return (raw if isinstance(raw, str) else None), item_id_problem(raw)


def file_value(value: Any) -> Any:  # noqa: ANN401 - of a file
    """Return the bytes or the path of a file, also out of Hugging Face's struct of both; falsy where there is none."""
    return value.get("bytes") or value.get("path") if isinstance(value, dict) else value


def file_reference(
    value: Any,  # noqa: ANN401 - of a file
    root: Path | RemoteFolder | None,
    kind: str = "image",
) -> tuple[FileSource | None, str | None]:
    """Return the bytes of a file, or its path or URL below a resolved folder, or why it cannot be used.

    >>> file_reference("https://example.org/mug.png", Path("/pictures"))
    (None, 'URLs are not fetched, except below a URL as image_dir: https://example.org/mug.png')
    """
    value = file_value(value)
    if not value or isinstance(value, bytes):
        return value or None, None
    text = str(value)
    if problem := _path_problem(text, kind):
        return None, problem
    if isinstance(root, RemoteFolder):
        return root.file(text, kind)
    if "://" in text or text.startswith(("data:", "file:")):
        unless = "" if root is None else ", except below a URL as image_dir"
        return None, f"URLs are not fetched{unless}: {shown_name(text)}"
    if root is None:
        return None, f"{kind} path without a folder of files to start from: {shown_name(text)}"
    try:
        path = _resolve(root, text)
    except (OSError, RuntimeError):  # a loop of links
        return None, f"{kind} path leads nowhere: {shown_name(text)}"
    if not path.is_relative_to(root):
        return None, f"{kind} path leaves the folder of images: {shown_name(text)}"
    if path.is_dir():
        return None, f"{kind} path is that of a folder: {shown_name(text)}"
    return path, None


def shown_name(value: Any) -> str:  # noqa: ANN401 - of a file
    """Return the path of a file as a source names it, for a reason."""
    return shown_url(str(file_value(value)))[:MAX_SHOWN]


def _resolve(root: Path, text: str) -> Path:
    """Return the file that a path names: as written, or else without blanks around it, with slashes, as NFC or NFD."""
    path = (root / text).resolve()
    if path.exists():
        return path
    stripped = text.strip()
    for spelling in (stripped, stripped.replace("\\", "/")):
        for form in ("NFC", "NFD"):
            candidate = (root / unicodedata.normalize(form, spelling)).resolve()
            if candidate.is_relative_to(root) and candidate.exists():
                return candidate
    return path


def _path_problem(text: str, kind: str) -> str | None:
    if not text.strip():
        return f"blank {kind} path"
    return f"{kind} path holds a NUL character" if "\0" in text else None
