"""Offline: items in, a searchable bundle out.

>>> from indexing import Catalogue, build_bundle, load_encoder
"""

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
