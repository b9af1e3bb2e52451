"""Open Clip Art as Debian ships it: titles and keywords from the drawings' SVG, pictures as PNG.

Install with `apt-get install openclipart-svg openclipart-png`; both live under /usr/share/openclipart.
"""

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "valid", "test"]

# A title that more drawings than this share is the name of a collection or of an author.
SHARED_BY_A_COLLECTION = 6
# Metadata stands near the beginning or the end; what lies between in a large file are paths.
READ_BYTES = 400_000

# Titles and keywords are taken out by pattern, not by an XML parser: many of these files are not well formed, and a
# pattern expands no entities.
_AGENT = re.compile(r"<cc:Agent.*?</cc:Agent>", re.DOTALL)
_TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)
_SUBJECT = re.compile(r"<dc:subject>(.*?)</dc:subject>", re.DOTALL)
_KEYWORD = re.compile(r"<rdf:li>(.*?)</rdf:li>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")

_MACHINE = re.compile(
    r"(?i)^(layer|path|group|svg|image|drawing|clip ?art|untitled|unsigned|new document|dessin|disegno|rect|text)?"
    r"[\s\d._#-]*$"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CREDIT = re.compile(r"(?i)\bclip ?art by \w+ \w+")
_CREATOR = re.compile(r"<dc:creator>.*?<dc:title>(.*?)</dc:title>", re.DOTALL)


@dataclass(frozen=True)
class Drawing:
    """One drawing.

    Attributes:
        drawing_id: Path below the collection, without suffix.
        title: A cleaned title, from the SVG or from the file name.
        keywords: Lower case, without repetitions.
        category: Its top folder.
        picture: The PNG.
    """

    drawing_id: str
    title: str
    keywords: tuple[str, ...]
    category: str
    picture: Path


def held_out(title: str) -> Split:
    """Say which split a title belongs to, by its hash: a tenth test, a tenth valid.

    >>> held_out("Red Mug") == held_out("red mug")
    True
    """
    bucket = int(hashlib.md5(title.lower().encode(), usedforsecurity=False).hexdigest(), 16) % 10
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"


def read_drawings(root: Path) -> Iterator[Drawing]:
    """Give all drawings that have a picture, in the order of their paths."""
    pictures = sorted((root / "png").rglob("*.png"))
    metadata = [_metadata((root / "svg" / path.relative_to(root / "png")).with_suffix(".svg")) for path in pictures]
    shared = Counter(title.lower() for title, _, _ in metadata)
    for path, (title, keywords, creator) in zip(pictures, metadata, strict=True):
        relative = path.relative_to(root / "png")
        from_collection = shared[title.lower()] > SHARED_BY_A_COLLECTION
        usable = "" if from_collection else clean_title(title)
        yield Drawing(
            drawing_id=relative.with_suffix("").as_posix(),
            title=usable or _without_author(clean_title(path.stem), creator) or relative.parent.name.replace("_", " "),
            keywords=keywords,
            category=relative.parts[0],
            picture=path,
        )


def clean_title(raw: str) -> str:
    """Make a title of words; empty when it is machine text.

    >>> clean_title("red_mug_02"), clean_title("CoffeeCup"), clean_title("Layer 1"), clean_title("BIG BEN")
    ('red mug', 'Coffee Cup', '', 'Big ben')
    """
    text = _CREDIT.sub(" ", _CAMEL.sub(" ", html.unescape(raw)))
    text = re.sub(r"(?i)\.(svg|png|ai|eps)\b", " ", text)
    text = re.sub(r"[_\-.,;:/()\[\]+]+", " ", text)
    text = re.sub(r"(?<=[^\W\d])\d+\b", "", text)  # arrow08, bus2
    text = " ".join(word for word in text.split() if not re.search(r"\d", word))  # 67pt11step, 01a
    if text.isupper() and len(text) > 4:
        text = text.capitalize()
    return "" if _MACHINE.match(text) or len(text) < 2 else text


def _without_author(title: str, creator: str) -> str:
    """Take the author's name off the end of a file name, where it stands cut short: ``mug susan par`` of Susan Park.

    >>> _without_author("coffee mug susan par", "Susan Park"), _without_author("susan", "Susan Park")
    ('coffee mug', 'susan')
    """
    names = re.findall(r"\w+", creator.lower())
    words = title.split()
    while len(words) > 1 and any(name.startswith(words[-1].lower()) for name in names):
        words.pop()
    return " ".join(words)


def _metadata(svg: Path) -> tuple[str, tuple[str, ...], str]:
    """Read title, keywords and creator of an SVG; all empty when it is missing."""
    try:
        with svg.open("rb") as file:
            text = _decoded(file.read(READ_BYTES))
    except OSError:
        return "", (), ""
    creator = _CREATOR.search(text)
    text = _AGENT.sub("", text)
    title = _TITLE.search(text)
    subject = _SUBJECT.search(text)
    words = _KEYWORD.findall(subject.group(1)) if subject else []
    cleaned = (" ".join(_plain(word).lower().replace("_", " ").split()) for word in words)
    kept = dict.fromkeys(word for word in cleaned if 1 < len(word) < 40 and not _MACHINE.match(word))
    return _plain(title.group(1)) if title else "", tuple(kept), _plain(creator.group(1)) if creator else ""


def _decoded(data: bytes) -> str:
    """Decode a file, also one whose UTF-8 was taken for Latin-1 and encoded again."""
    text = data.decode("utf-8", "replace")
    if "\u00c3" in text:
        try:
            return text.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass
    return text


def _plain(markup: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", markup)).replace("\ufffd", "").split())
