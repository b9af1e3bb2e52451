"""The items of a source: columns, cleaning, validation, and what is quarantined."""

from indexing.catalogue.catalogue import Catalogue, Item
from indexing.catalogue.columns import Columns, NamedColumns
from indexing.catalogue.item_ids import ItemIds

__all__ = ["Catalogue", "Columns", "Item", "ItemIds", "NamedColumns"]
