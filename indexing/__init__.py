"""Offline: items in, a searchable bundle out.

>>> from indexing import Catalogue, build_bundle, load_encoder

Each name is imported when it is first asked for. A process that decodes pictures needs `indexing.media` alone, and
every import of a module of this package comes by here: before NumPy is loaded, if nobody else has loaded it, it is said
how threads wait.
"""

import importlib
from typing import TYPE_CHECKING

from indexing.runtime.threads import wait_asleep as _wait_asleep

if TYPE_CHECKING:
    from indexing.bundle.build import build_bundle
    from indexing.bundle.bundle import Bundle
    from indexing.bundle.edits.edit import EditReport, add, delete, upsert
    from indexing.bundle.edits.update import update
    from indexing.bundle.maintenance.index_words import index_words
    from indexing.bundle.maintenance.rollback import rollback
    from indexing.bundle.maintenance.staged import publish_staged
    from indexing.bundle.maintenance.verify import verify
    from indexing.catalogue.catalogue import Catalogue, Columns, Item
    from indexing.catalogue.item_ids import ItemIds
    from indexing.catalogue.medium import Medium
    from indexing.encoders import Encoder, EncoderInfo, load_encoder
    from indexing.errors import CommonspaceError
    from indexing.index import IndexConfig
    from indexing.media.audio import AudioLimits
    from indexing.media.files import Kind, Modality
    from indexing.media.images import ImageLimits
    from indexing.media.video import VideoLimits
    from indexing.runtime.ray_engine import RayEngine
    from indexing.store.encode import EncodeConfig

__all__ = [
    "AudioLimits",
    "Bundle",
    "Catalogue",
    "Columns",
    "CommonspaceError",
    "EditReport",
    "EncodeConfig",
    "Encoder",
    "EncoderInfo",
    "ImageLimits",
    "IndexConfig",
    "Item",
    "ItemIds",
    "Kind",
    "Medium",
    "Modality",
    "RayEngine",
    "VideoLimits",
    "add",
    "build_bundle",
    "delete",
    "index_words",
    "load_encoder",
    "publish_staged",
    "rollback",
    "update",
    "upsert",
    "verify",
]

_wait_asleep()

_MODULES = {  # where each is
    "AudioLimits": "indexing.media.audio",
    "Bundle": "indexing.bundle.bundle",
    "Catalogue": "indexing.catalogue.catalogue",
    "Columns": "indexing.catalogue.catalogue",
    "CommonspaceError": "indexing.errors",
    "EditReport": "indexing.bundle.edits.edit",
    "EncodeConfig": "indexing.store.encode",
    "Encoder": "indexing.encoders",
    "EncoderInfo": "indexing.encoders",
    "ImageLimits": "indexing.media.images",
    "IndexConfig": "indexing.index",
    "Item": "indexing.catalogue.catalogue",
    "ItemIds": "indexing.catalogue.item_ids",
    "Kind": "indexing.media.files",
    "Medium": "indexing.catalogue.medium",
    "Modality": "indexing.media.files",
    "RayEngine": "indexing.runtime.ray_engine",
    "VideoLimits": "indexing.media.video",
    "add": "indexing.bundle.edits.edit",
    "build_bundle": "indexing.bundle.build",
    "delete": "indexing.bundle.edits.edit",
    "index_words": "indexing.bundle.maintenance.index_words",
    "load_encoder": "indexing.encoders",
    "publish_staged": "indexing.bundle.maintenance.staged",
    "rollback": "indexing.bundle.maintenance.rollback",
    "update": "indexing.bundle.edits.update",
    "upsert": "indexing.bundle.edits.edit",
    "verify": "indexing.bundle.maintenance.verify",
}

_FORMER = {"FilmLimits": "VideoLimits", "PictureLimits": "ImageLimits", "SoundLimits": "AudioLimits"}
"""By the former name the new one; the next version has that alone."""


def __getattr__(name: str) -> object:
    """Import the module of a name, and give its value."""
    if name in _FORMER:
        from indexing.runtime.warn import warn

        warn(f"indexing.{name} is called {_FORMER[name]}", FutureWarning)
        name = _FORMER[name]
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
