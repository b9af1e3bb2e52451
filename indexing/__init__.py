"""Offline: items in, a searchable bundle out.

>>> from indexing import Catalogue, build_bundle, load_encoder

Each name is imported when it is first asked for. A process that decodes pictures needs `indexing.media` alone, and
every import of a module of this package comes by here.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexing.bundle.build import build_bundle
    from indexing.bundle.bundle import Bundle
    from indexing.bundle.edits.edit import EditReport, add, delete, upsert
    from indexing.bundle.edits.update import update
    from indexing.bundle.maintenance.index_words import index_words
    from indexing.bundle.maintenance.rollback import rollback
    from indexing.bundle.maintenance.verify import verify
    from indexing.catalogue.catalogue import Catalogue, Columns, Item
    from indexing.catalogue.item_ids import ItemIds
    from indexing.catalogue.medium import Medium
    from indexing.encoders import Encoder, EncoderInfo, load_encoder
    from indexing.errors import CommonspaceError
    from indexing.index import IndexConfig
    from indexing.media.audio import SoundLimits
    from indexing.media.files import Kind, Modality
    from indexing.media.images import PictureLimits
    from indexing.media.video import FilmLimits
    from indexing.store.encode import EncodeConfig

__all__ = [
    "Bundle",
    "Catalogue",
    "Columns",
    "CommonspaceError",
    "EditReport",
    "EncodeConfig",
    "Encoder",
    "EncoderInfo",
    "FilmLimits",
    "IndexConfig",
    "Item",
    "ItemIds",
    "Kind",
    "Medium",
    "Modality",
    "PictureLimits",
    "SoundLimits",
    "add",
    "build_bundle",
    "delete",
    "index_words",
    "load_encoder",
    "rollback",
    "update",
    "upsert",
    "verify",
]

_MODULES = {  # where each is
    "Bundle": "indexing.bundle.bundle",
    "Catalogue": "indexing.catalogue.catalogue",
    "Columns": "indexing.catalogue.catalogue",
    "CommonspaceError": "indexing.errors",
    "EditReport": "indexing.bundle.edits.edit",
    "EncodeConfig": "indexing.store.encode",
    "Encoder": "indexing.encoders",
    "EncoderInfo": "indexing.encoders",
    "FilmLimits": "indexing.media.video",
    "IndexConfig": "indexing.index",
    "Item": "indexing.catalogue.catalogue",
    "ItemIds": "indexing.catalogue.item_ids",
    "Kind": "indexing.media.files",
    "Medium": "indexing.catalogue.medium",
    "Modality": "indexing.media.files",
    "PictureLimits": "indexing.media.images",
    "SoundLimits": "indexing.media.audio",
    "add": "indexing.bundle.edits.edit",
    "build_bundle": "indexing.bundle.build",
    "delete": "indexing.bundle.edits.edit",
    "index_words": "indexing.bundle.maintenance.index_words",
    "load_encoder": "indexing.encoders",
    "rollback": "indexing.bundle.maintenance.rollback",
    "update": "indexing.bundle.edits.update",
    "upsert": "indexing.bundle.edits.edit",
    "verify": "indexing.bundle.maintenance.verify",
}


def __getattr__(name: str) -> object:
    """Import what a name stands for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
