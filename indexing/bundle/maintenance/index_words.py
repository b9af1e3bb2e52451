"""Index the words of a bundle that has none yet, or of other columns: nothing is encoded, no vector changes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle, require_newest
from indexing.bundle.generation import WORDS, part_of
from indexing.bundle.publish import Content, publish
from indexing.bundle.word_files import WordSettings, word_contents, word_settings
from indexing.errors import InputError
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_list, check_local_path


def index_words(root: Path | str, columns: Sequence[str] | None = None, *, weight: float | None = None) -> Bundle:
    """Write a new generation with an index of words beside the vectors, and make it current.

    Everything else stays as it is; changes since the generation stay changes, and are searched too.

    Args:
        root: Folder of the bundle.
        columns: Attributes whose words are indexed, ``item_id`` for the ids; none takes the index away. When None those
            that were indexed before, or else the columns of text that were encoded.
        weight: Share of the words in a hybrid search, from 0 to 1; what it was before when None.

    Raises:
        InputError: When there is no such column, or no word in any.
        BundleLockedError: When another process is writing to the bundle.
    """
    root = check_local_path(root, "the folder of the bundle")
    if columns is not None:
        check_list(columns, "columns")
    require_bundle(root)
    with write_lock(root):
        require_newest(root)
        bundle = Bundle.open(root)
        settings = _settings(bundle, columns, weight)
        generation, manifest = bundle.generation, bundle.manifest
        kept = [record.name for record in manifest.files if part_of(record.name) != WORDS]
        files: dict[str, Content] = {name: bundle.folder / name for name in kept}
        if settings.columns:
            files |= word_contents(generation.attributes, settings)
        publish(root, replace(manifest, columns={**manifest.columns, "words": settings.columns}), files)
    return Bundle.open(root)


def _settings(bundle: Bundle, columns: Sequence[str] | None, weight: float | None) -> WordSettings:
    """Give what is to be indexed: what is named, what was indexed before, or the texts that were encoded."""
    before = word_settings(bundle)
    known_weight = before.weight if before else None
    if columns is None:
        columns = before.columns if before else tuple(bundle.manifest.columns.get("text") or ())
        if not columns:
            raise InputError(
                f"{bundle.root} was built without a column of text",
                python="name the columns whose words are indexed",
                cli="name the columns whose words are indexed with --columns",
            )
    return WordSettings(tuple(columns), known_weight if weight is None else weight)
