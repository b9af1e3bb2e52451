"""Adding, replacing, changing and deleting items, with a report of every row that was not taken."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from indexing.bundle.build import not_embedded
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.edits.source_columns import other_columns
from indexing.bundle.edits.update import update
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import Encoder
from indexing.media.audio import AudioLimits
from indexing.media.images import ImageLimits
from indexing.store.encode import EncodeConfig
from retrieval.retriever.loaded_bundle import encoder_of
from retrieval.serving.admin.items import catalogue_of, updates_of
from retrieval.serving.config import Limits

Mode: TypeAlias = Literal["add", "upsert", "update"]
SHOWN_ROWS = 1_000
"""Rows and items that a report names; it counts all."""
HERE_BATCH = 8  # items that are encoded at once by the encoder that queries wait for


def encoding(limits: Limits, *, here: bool) -> EncodeConfig:
    """Give how items are encoded: ``here``, in the service, with few at once and one process that decodes."""
    pictures = ImageLimits(limits.image_pixels, limits.image_bytes)
    sounds = AudioLimits(seconds=limits.audio_seconds, file_bytes=limits.audio_bytes)
    if here:
        return EncodeConfig(batch_size=HERE_BATCH, workers=1, limits=pictures, sounds=sounds)
    return EncodeConfig(limits=pictures, sounds=sounds)


def edit_items(
    mode: Mode,
    source: Path | Sequence[Any],
    bundle: Bundle,
    encoder: Encoder | None,
    encode: EncodeConfig,
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Put items into a bundle, or give them other attributes.

    Args:
        mode: ``"add"`` refuses items that are there, ``"upsert"`` replaces them, ``"update"`` changes attributes alone.
        source: Objects, or an uploaded file.
        bundle: The bundle, opened.
        encoder: The one that built it; loaded by name when None.
        encode: How items are encoded.
        progress: Report it.

    Returns:
        The report, as plain values.

    Raises:
        InputError: When nothing of it can be used, or the bundle has an item that is added; nothing is changed then.
        BundleLockedError: When another process holds the lock of the bundle for too long.
    """
    if mode == "update":
        return update(bundle, updates_of(source)).to_json()
    catalogue = catalogue_of(source, bundle)
    put = add if mode == "add" else upsert
    report = put(bundle, catalogue, encoder or encoder_of(bundle), encode=encode, progress=progress)
    return _bounded(report.to_json()) | _beside(catalogue, bundle)


def delete_items(bundle: Bundle, item_ids: Sequence[str], *, missing_ok: bool) -> dict[str, Any]:
    """Take items out of a bundle.

    Raises:
        UnknownItemError: When the bundle lacks one and ``missing_ok`` is not set; nothing is changed then.
        InputError: When nothing would be left.
    """
    return delete(bundle, item_ids, missing_ok=missing_ok).to_json()


def _bounded(report: Mapping[str, Any]) -> dict[str, Any]:
    """Name so many items alone that could not be encoded, and count all."""
    bounded = dict(report)
    for name in ("failed", "partly"):
        bounded[f"num_{name}"] = len(report[name])
        bounded[name] = dict(islice(report[name].items(), SHOWN_ROWS))
    return bounded


def _beside(catalogue: Catalogue, bundle: Bundle) -> dict[str, Any]:
    """Give the rows that were rejected, and what was not read of the others."""
    rejects, read = catalogue.rejects.slice(0, SHOWN_ROWS).to_pylist(), catalogue.report
    return {
        "rejected_rows": [
            {"row": row["source_row"], "item_id": row["item_id"], "reason": row["reason"]} for row in rejects
        ],
        "repaired": read.repaired,
        "columns_left_out": read.columns_left_out,
        "columns_as_text": read.as_text,
        "not_embedded": not_embedded(catalogue.columns, bundle.manifest.encoder),
        "other_columns": other_columns(catalogue, bundle),
    }
