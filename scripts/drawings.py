"""The sample's drawings as the demo shows them."""

from dataclasses import dataclass

import pyarrow.parquet as pq

from indexing.sample import items_path

MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


@dataclass(frozen=True)
class Drawing:
    """A sample item: its title, the bytes of its picture, and whether the pocket encoder never trained on its title."""

    item_id: str
    title: str
    picture: bytes
    unseen: bool

    @property
    def media_type(self) -> str:
        """Media type of the picture, from its first bytes."""
        return next(kind for magic, kind in MEDIA_TYPES.items() if self.picture.startswith(magic))


def read_drawings() -> dict[str, Drawing]:
    """Read the sample's drawings by item_id."""
    table = pq.read_table(items_path(), columns=["item_id", "title", "image", "split"])
    return {
        line["item_id"]: Drawing(line["item_id"], line["title"], line["image"], unseen=line["split"] != "train")
        for line in table.to_pylist()
    }
