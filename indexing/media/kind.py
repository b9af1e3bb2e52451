"""What a file is, and what an embedding was made from."""

from enum import StrEnum


class Modality(StrEnum):
    """What an embedding was made from."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class Kind(StrEnum):
    """What a file is."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"

    @property
    def modality(self) -> Modality:
        """The modality of its embeddings: the frames of a film are pictures."""
        return Modality.AUDIO if self is Kind.AUDIO else Modality.IMAGE
