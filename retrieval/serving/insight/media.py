"""Pictures and sounds of the catalogue, for the page: pictures are decoded and drawn anew, sounds are told by bytes."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.medium import Medium
from indexing.errors import InputError, UnknownItemError
from indexing.media.audio import AudioLimits, read_sound, sound_type
from indexing.media.files import FileSource, Kind, UnusableFile
from indexing.media.images import ImageLimits
from indexing.store.shared_pool import thumbnail
from retrieval.serving.config import Limits

BATCH = 1_000  # rows that are read at once
MAX_BYTES = 1_000_000_000  # of pictures that a catalogue holds itself
CACHED_BYTES = 64_000_000
AT_ONCE = 2  # pictures that are decoded


class MediaLibrary:
    """Gives the picture and the sound of an item, from the catalogue that the bundle was built from.

    Attributes:
        turns, waiting: Of requests for pictures; used by the event loop alone.

    Args:
        path: Of the catalogue, as for `build`.
        limits: What a file may cost.

    Raises:
        InputError: When the catalogue holds more bytes of pictures than fit into memory.
    """

    def __init__(self, path: Path | str, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self.turns, self.waiting = asyncio.Semaphore(AT_ONCE), 0
        self._small: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._small_bytes = 0
        self._media: dict[str, dict[Kind, Medium]] = {}
        held = 0
        for batch in Catalogue.open(path).batches(BATCH):
            for item in batch:
                first: dict[Kind, Medium] = {}
                for medium in item.media:
                    if medium.source is not None and medium.kind is not Kind.VIDEO:
                        first.setdefault(medium.kind, medium)
                held += sum(len(one.source) for one in first.values() if isinstance(one.source, bytes))
                if held > MAX_BYTES:
                    raise InputError(
                        f"{path} holds more than {MAX_BYTES} bytes of pictures and sounds itself; give a catalogue "
                        "that names their files"
                    )
                if first:
                    self._media[item.item_id] = first

    def kinds(self, item_ids: Sequence[str]) -> dict[str, list[str]]:
        """Say for each item that has any whether it has a picture and a sound."""
        return {one: [str(kind) for kind in self._media[one]] for one in item_ids if one in self._media}

    def picture(self, item_id: str, side: int) -> bytes:
        """Give the first picture of an item as a JPEG, made from its pixels alone.

        Raises:
            UnknownItemError: When the item has none that can be used.
        """
        key = item_id, side
        with self._lock:
            if key in self._small:
                self._small.move_to_end(key)
                return self._small[key]
        source = self._source(item_id, Kind.IMAGE)
        limits = ImageLimits(self._limits.image_pixels, self._limits.image_bytes)
        made = thumbnail(source, limits, side)
        if made is None:
            raise UnknownItemError("the picture of this item cannot be used")
        with self._lock:
            if key not in self._small:  # or else another thread made it, too
                self._small_bytes += len(made)
            self._small[key] = made
            while self._small_bytes > CACHED_BYTES:
                self._small_bytes -= len(self._small.popitem(last=False)[1])
        return made

    def sound(self, item_id: str) -> tuple[bytes, str]:
        """Give the first sound of an item, and its type.

        Raises:
            UnknownItemError: When the item has none that browsers play.
        """
        source = self._source(item_id, Kind.AUDIO)
        try:
            data = read_sound(source, AudioLimits(file_bytes=self._limits.audio_bytes))
        except UnusableFile as error:
            raise UnknownItemError("the sound of this item cannot be used") from error
        if (kind := sound_type(data)) is None:
            raise UnknownItemError("the sound of this item is of no type that browsers play")
        return data, kind

    def _source(self, item_id: str, kind: Kind) -> FileSource:
        medium = self._media.get(item_id, {}).get(kind)
        if medium is None or medium.source is None:
            raise UnknownItemError(f"this item has no {kind}")
        return medium.source
