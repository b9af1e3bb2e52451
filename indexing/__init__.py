"""Offline: items in, a searchable bundle out.

>>> from indexing import Catalogue, build_bundle, load_encoder
"""

from indexing.build import build_bundle
from indexing.bundle import Bundle
from indexing.catalogue import Catalogue, Columns, Item
from indexing.edit import EditReport, add, delete, upsert
from indexing.encode import EncodeConfig
from indexing.encoders import Encoder, EncoderInfo, load_encoder
from indexing.errors import CommonspaceError
from indexing.films import FilmLimits
from indexing.index import IndexConfig
from indexing.item_ids import ItemIds
from indexing.media import Kind, Medium
from indexing.pictures import PictureLimits
from indexing.rollback import rollback
from indexing.sounds import SoundLimits
from indexing.types import Modality
from indexing.update import update
from indexing.verify import verify

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
    "load_encoder",
    "rollback",
    "update",
    "upsert",
    "verify",
]
