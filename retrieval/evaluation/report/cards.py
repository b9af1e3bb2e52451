"""How items are shown on a page: their name, and a small picture where the catalogue is at hand."""

from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from indexing.catalogue.catalogue import Catalogue
from indexing.media.files import Kind
from indexing.media.images import PictureLimits
from indexing.store.shared_pool import thumbnail
from retrieval.evaluation.report.page import quoted, shown

SIDE = 120  # pixels of a thumbnail
AT_ONCE = 64  # items, since their pictures are read with them


@dataclass(frozen=True)
class Card:
    """One item to be shown: its id, its title, and a small JPEG of its picture if that can be used."""

    item_id: str
    title: str
    picture: bytes | None = None

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.item_id

    def figure(self, remark: str = "", *, relevant: bool = False) -> str:
        """Give the item as HTML, framed when it is relevant."""
        image = "<span class='blank'></span>"
        if self.picture:
            data = b64encode(self.picture).decode()
            image = f"<img src='data:image/jpeg;base64,{data}' alt='{quoted(self.name)}'>"
        mark = "<em>relevant</em>" if relevant else ""
        said = f"<span>{shown(remark)}</span>" if remark else ""
        kind = " class='relevant'" if relevant else ""
        title = quoted(f"{self.item_id}: {self.title}")
        return f"<figure{kind} title='{title}'>{image}<figcaption>{shown(self.name)}{mark}{said}</figcaption></figure>"


def cards_of(
    wanted: Collection[str],
    titles: Mapping[str, str],
    catalogue: Catalogue | None = None,
    limits: PictureLimits | None = None,
) -> dict[str, Card]:
    """Give a card for each item wanted, with the first picture that it has in the catalogue."""
    pictures: dict[str, bytes | None] = {}
    left, limits = set(wanted), limits or PictureLimits()
    for batch in catalogue.batches(AT_ONCE) if catalogue is not None and left else ():
        for item in batch:
            if item.item_id in left:
                left.remove(item.item_id)
                images = (medium.source for medium in item.media if medium.kind is Kind.IMAGE and medium.source)
                first = next(images, None)
                pictures[item.item_id] = thumbnail(first, limits, SIDE) if first is not None else None
        if not left:
            break
    return {item_id: Card(item_id, titles.get(item_id, ""), pictures.get(item_id)) for item_id in wanted}
