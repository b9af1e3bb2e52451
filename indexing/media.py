"""What an item may bring beside its text: pictures, sounds and films, as bytes or as paths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from indexing.cleaning import file_reference, shown_name
from indexing.columns import Columns
from indexing.types import Modality


class Kind(StrEnum):
    """What a file is."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"

    @property
    def modality(self) -> Modality:
        """The modality of its embeddings: the frames of a film are pictures."""
        return Modality.AUDIO if self is Kind.AUDIO else Modality.IMAGE


@dataclass(frozen=True)
class Medium:
    """One picture, sound or film of an item.

    Attributes:
        kind: What it is.
        source: The bytes of its file, or the path of it; None when it cannot be used.
        problem: Why it cannot be used.
        name: The path as the source gives it, for reasons; empty for bytes.
    """

    kind: Kind
    source: bytes | Path | None
    problem: str | None = None
    name: str = field(default="", compare=False)


def media_of(kind: Kind, value: Any, root: Path | None) -> list[Medium]:  # noqa: ANN401 - of a file
    """Give the media that a value of a source holds: none, one, or a list of them.

    >>> [medium.source for medium in media_of(Kind.IMAGE, [b"one", None, b"two"], Path("/"))]
    [b'one', b'two']
    """
    media = []
    for one in value if isinstance(value, list) else [value]:
        source, problem = file_reference(one, root, kind)
        if source is not None or problem is not None:
            media.append(Medium(kind, source, problem, shown_name(one) if isinstance(source, Path) else ""))
    return media


def media_in(row: Mapping[str, Any], columns: Columns, root: Path | None) -> list[Medium]:
    """Give the pictures, sounds and films of a row of a source, in this order; paths start from a resolved folder."""
    named = ((Kind.IMAGE, columns.image), (Kind.AUDIO, columns.audio), (Kind.VIDEO, columns.video))
    return [medium for kind, name in named if name for medium in media_of(kind, row[name], root)]
