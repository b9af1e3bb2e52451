"""Build a bundle: encode what is new, fuse, index to a recall target, publish."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save

from indexing.arrays import Rows, Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import read_state
from indexing.bundle.generation import BRIDGE, GOLDEN, REJECTS, STORE, Generation
from indexing.bundle.index_files import BuildOn, held_out_queries, index_items, item_contents
from indexing.bundle.manifest import Manifest
from indexing.bundle.publish import (
    CarriedOver,
    Carry,
    Content,
    NewItems,
    bundle_to_carry_over,
    last_number,
    publish,
    work_folder,
)
from indexing.bundle.text_separation import unknown_tokens
from indexing.bundle.word_files import WordSettings, word_contents, word_settings
from indexing.catalogue.catalogue import Catalogue, as_catalogue
from indexing.catalogue.columns import VECTOR_NAMES, Columns
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.readers.arrow_tables import ArrowStream
from indexing.encoders import load_encoder
from indexing.encoders.base import Encoder, EncoderInfo, HasBridge, check_encoder, golden_vectors
from indexing.encoders.precomputed import VectorsEncoder
from indexing.errors import BundleError, CatalogueError, DamagedFileError, InputError, require_extra
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.index import IndexConfig
from indexing.index.tuning.build import require_device, require_memory
from indexing.index.tuning.sample_queries import SAMPLE_QUERIES, Given, SampleQueries, checked_queries, to_bytes
from indexing.media.files import Modality
from indexing.runtime.arguments import check_call, check_flag, check_kind, check_local_path
from indexing.runtime.device import CPU
from indexing.runtime.progress import progress as working
from indexing.store.collect import ModalityVectors, collect_vectors, fuse, map_vectors, pack
from indexing.store.encode import EncodeConfig, EncodeReport, check_encoding, embed
from indexing.store.store import EmbeddingStore, parquet_bytes, shard_bytes


def build_bundle(
    catalogue: Catalogue | ArrowStream,
    encoder: Encoder | str,
    out: Path | str,
    *,
    index: IndexConfig | None = None,
    encode: EncodeConfig | None = None,
    progress: bool = False,
    carry: Carry | None = None,
    drop_learned: bool = False,
    index_device: str = CPU,
    queries: Given | None = None,
) -> Bundle:
    """Encode a catalogue, index it and publish it as a new generation of a bundle.

    An interrupted build continues where it stopped, and what an earlier generation encoded with the same encoder
    is taken from there. The current generation stays untouched until the new one is complete. The catalogue says what
    the new one holds: what was added to the bundle or deleted from it before is superseded. What the bundle has
    learned stays with its items where ``carry`` is given and the encoder is the same.

    Args:
        catalogue: The items; also a DataFrame or an Arrow table.
        encoder: Embeds them; also its name, as for `load_encoder`. With ``vectors:`` the catalogue's own vectors are
            taken, and where these are of different spaces, maps are learned from them.
        out: Folder of the bundle.
        index: What the index must achieve.
        encode: How many items at once, by how many processes, within which limits; an engine that also builds shards.
        progress: Show a progress bar on standard error.
        carry: Takes what the bundle has learned over to the new items: `retrieval.carry_over`.
        drop_learned: Build without what the bundle has learned.
        index_device: Where inverted lists are built; see `build_index`. Later generations are built on the CPU.
        queries: Some that users asked, by kind, as ``{"text": [...]}``: texts, or (n, D) vectors. The index is tuned on
            them in place of texts or pictures of items, now and whenever it is built again. Those of the generation
            before when None, if the encoder is the same.

    Raises:
        InputError: When queries are too few, or cannot be compared with the items.
        BundleError: When the bundle has learned something that would be lost, and ``drop_learned`` is False.
        CatalogueError: When not one item could be encoded, or precomputed vectors do not fit the encoder.
        BundleLockedError: When another process is writing to the bundle.
        DeviceError: When the index is to be built on a GPU that is not there.
    """
    root = check_local_path(out, "out")
    catalogue = as_catalogue(catalogue)
    encoder = load_encoder(encoder) if isinstance(encoder, str) else check_encoder(encoder)
    check_encoding(encode, progress)
    if index is not None:
        check_kind(index, IndexConfig, "index", "give an IndexConfig, or None")
        if index.kind == "lancedb":
            require_extra("lancedb", "lancedb")
    config, on = index or IndexConfig(), BuildOn(index_device, None if encode is None else encode.engine)
    require_device(config.kind, index_device)  # before hours of encoding
    if config.kind == "sharded" and on.engine is not None and index_device != CPU:
        raise InputError(f"index_device is {index_device!r}, but shards are built by actors of Ray, which have no GPU")
    check_call(carry, "carry")
    check_flag(drop_learned, "drop_learned")
    if isinstance(encoder, VectorsEncoder):
        encoder = encoder.fitted(catalogue)
        if encode is not None and config.kind == "sharded":
            encode = replace(encode, engine=None)  # which builds the shards; vectors are taken as they are
    if config.kind == "sharded":
        require_memory(config, encoder.info.dim)
    sampled = None if queries is None else _sampled(queries, encoder, config.sample)
    with write_lock(root):
        old_bundle = bundle_to_carry_over(root, encoder.info.fingerprint, carry, drop=drop_learned)
        _check_not_empty(catalogue)
        work = root / f"work-{encoder.info.fingerprint[:16]}"
        _reuse_embeddings(root, work, encoder.info.fingerprint)
        store = EmbeddingStore(work, encoder.info.dim)
        report = embed(catalogue, encoder, store, encode, shown=progress)
        carry_learned = partial(carry, old_bundle) if carry and old_bundle else None
        try:
            with working("indexing", shown=progress):
                asked = _queries_before(root, encoder.info) if sampled is None else sampled
                _publish(root, catalogue, encoder, store, report, config, carry_learned, on, asked)
        finally:  # what is encoded stays for the next build, what was to be published does not
            fsops.remove(work_folder(root))
        fsops.remove(work)
        return Bundle.open(root)


def _sampled(queries: Given, encoder: Encoder, sample: int) -> SampleQueries:
    """Check the queries that were given; see `checked_queries`."""
    if encoder.info.separate and queries:
        raise InputError("queries are given, but the modalities of these vectors are different spaces; leave them out")
    return checked_queries(queries, encoder.info.dim, sample, encoder.encode_texts)


def _queries_before(root: Path, info: EncoderInfo) -> SampleQueries:
    """Return the queries of the current generation, if there are any and the encoder is the same."""
    try:
        state = read_state(root)
        generation = None if state is None else Generation.open(root / state.generation, only=())
    except BundleError:  # what cannot be read is built anew
        return {}
    if generation is None or generation.manifest.encoder.fingerprint != info.fingerprint:
        return {}
    return generation.sample_queries


def _reuse_embeddings(root: Path, work: Path, fingerprint: str) -> None:
    """Start from the embeddings of the current generation that are whole, if the same encoder made them."""
    if work.exists():
        return
    try:
        state = read_state(root)
        if state is None:
            return
        generation = Generation.open(root / state.generation, only=())
        if generation.manifest.encoder.fingerprint != fingerprint:
            return
    except BundleError:  # what cannot be read is built anew
        return
    fsops.make_folder(work)
    for shard in generation.shards:
        with suppress(DamagedFileError):  # its items are encoded anew
            shard_bytes(shard)  # of which the store decodes those that are taken over
            fsops.link_or_copy(shard, work / shard.name)


def _publish(
    root: Path,
    catalogue: Catalogue,
    encoder: Encoder,
    store: EmbeddingStore,
    report: EncodeReport,
    config: IndexConfig,
    carry_learned: Callable[[NewItems], CarriedOver] | None,
    on: BuildOn,
    sampled: SampleQueries,
) -> None:
    """Index the vectors of the store, and publish them with everything that a reader needs."""
    item_ids, work = ItemIds(catalogue.attributes.column("item_id").to_pylist()), work_folder(root)
    if config.kind == "sharded":
        rows, items, vectors = map_vectors(store, item_ids, encoder.info, work)
    else:
        rows, items, vectors = _collect_vectors(store, item_ids, encoder.info)
    if not len(rows):
        raise _nothing_encoded(catalogue, store, item_ids, not_embedded(catalogue.columns, encoder.info))
    attributes, learned = catalogue.attributes.take(rows), None
    if carry_learned is not None:
        new_ids = ItemIds(attributes["item_id"].to_pylist())
        learned = carry_learned(NewItems(new_ids, items, attributes, config.sample, sampled))
        vectors, queries = learned.vectors, learned.queries
    else:
        queries = held_out_queries(items, vectors, config.sample, given=sampled)
    index_files, index_section = index_items(items, vectors, config, work, queries, on=on)
    embeddings = pack(store, item_ids, work)
    counts = {
        **_source_counts(catalogue, encoder, report),
        "embeddings": {str(modality): int(exists.sum()) for modality, exists in items.exists.items()},
        "quarantined": embeddings.quarantined,
        "quarantine_reasons": dict(store.reasons().most_common()),
        "without_embedding": len(item_ids) - len(rows),
    }
    words, word_files = _index_words(root, catalogue, attributes)
    columns, last = asdict(replace(catalogue.columns, words=words)), last_number(root)  # changes are superseded
    manifest = Manifest("", "", encoder.info, len(rows), counts, columns, index_section, batches=last)
    if learned is not None:
        manifest = replace(manifest, learned=learned.learned, features=learned.features)
    files: dict[str, Content] = {
        **item_contents(attributes, items),
        REJECTS: parquet_bytes(catalogue.rejects),
        GOLDEN: save({"golden": golden_vectors(encoder)}),
        **index_files,
        **word_files,
        **(learned.files if learned else {}),
        **({SAMPLE_QUERIES: to_bytes(sampled)} if sampled else {}),
        **({BRIDGE: encoder.bridge_bytes()} if isinstance(encoder, HasBridge) else {}),
        **{f"{STORE}/{path.name}": path for path in embeddings.files},
    }
    publish(root, manifest, files)


def _index_words(root: Path, catalogue: Catalogue, attributes: pa.Table) -> tuple[tuple[str, ...], dict[str, Content]]:
    """Index the words of the columns that were named, or else of those of the generation before: names and files.

    Raises:
        CatalogueError: When the generation before had words of a column that the source lacks.
    """
    named, before = catalogue.columns.words, _words_before(root)
    if named is None and before is not None:
        lacking = [name for name in before.columns if name not in attributes.column_names]
        if lacking:
            raise CatalogueError(
                f"the words of {lacking} are indexed in {root}, and {catalogue.source} has no such column",
                python="name others with NamedColumns(words=…), or none with words=()",
                cli="name others with --words, or none with --words ''",
            )
        return before.columns, word_contents(attributes, before)
    columns = tuple("item_id" if name == catalogue.columns.item_id else name for name in named or ())
    if not columns:
        return (), {}
    return columns, word_contents(attributes, WordSettings(columns, before.weight if before else None))


def _words_before(root: Path) -> WordSettings | None:
    """Return which words the current generation has indexed; None where there is none, or it cannot be read."""
    try:
        return word_settings(Bundle.open(root, only=())) if read_state(root) else None
    except BundleError:  # what cannot be read is built anew
        return None


def _source_counts(catalogue: Catalogue, encoder: Encoder, report: EncodeReport) -> dict[str, Any]:
    """Return what became of the rows of a source, and what an encoder says of itself and of the texts, by name."""
    return {
        "source": catalogue.source,
        "cleaning": catalogue.report.to_json(),
        "encoding": report.to_json(),
        "not_embedded": not_embedded(catalogue.columns, encoder.info),
        **unknown_tokens(encoder, catalogue),
        **({"bridge": encoder.bridge_report()} if isinstance(encoder, HasBridge) else {}),
    }


def _nothing_encoded(
    catalogue: Catalogue, store: EmbeddingStore, items: ItemIds, not_embedded_: Mapping[str, str]
) -> CatalogueError:
    record = next(store.records(items), None)
    skipped = "; ".join(f"{name}: {reason}" for name, reason in not_embedded_.items())
    example = f"; the first: {record.item_id!r}: {record.reason}" if record else f"; {skipped}" if skipped else ""
    return CatalogueError(f"none of the {len(items)} items of {catalogue.source} could be encoded{example}")


def _check_not_empty(catalogue: Catalogue) -> None:
    if len(catalogue):
        return
    reasons = Counter(catalogue.report.rejected).most_common(3)
    reasons_text = "; ".join(f"{count} of {catalogue.report.rows}: {reason}" for reason, count in reasons)
    example = catalogue.rejects["reason"][0].as_py()
    raise CatalogueError(f"every row of {catalogue.source} was rejected: {reasons_text}; the first: {example}")


def _collect_vectors(
    store: EmbeddingStore, item_ids: ItemIds, info: EncoderInfo
) -> tuple[Rows, ModalityVectors, Vectors]:
    """Return the positions of the items that have a direction, and their frozen and fused vectors, in memory."""
    items = replace(collect_vectors(store, item_ids, info.modalities), weights=info.modality_weights)
    vectors = fuse(items)
    rows = np.flatnonzero(vectors.any(axis=1))  # opposite vectors leave an item without a direction
    if len(rows) == len(vectors):
        return rows, items, vectors
    return rows, items.take(rows), vectors[rows]


def not_embedded(columns: Columns, encoder: EncoderInfo) -> dict[str, str]:
    """Return the columns that were taken for something of which the encoder makes no vectors, each with the reason.

    >>> encoder = EncoderInfo("pocket", 2, (Modality.TEXT, Modality.IMAGE), "")
    >>> not_embedded(Columns("id", ("title",), "image", audio="sound"), encoder)
    {'sound': 'the encoder pocket embeds no audio: clap:NAME does, and pocket+clap:NAME does beside the rest'}
    """
    if encoder.precomputed:
        skipped = [*columns.media, *(name for name in columns.vectors if VECTOR_NAMES[name] not in encoder.modalities)]
        return dict.fromkeys(skipped, f"the encoder {encoder.name} takes vectors that are there already, and no files")
    reasons = {name: f"the encoder {encoder.name} takes no vectors: vectors: does" for name in columns.vectors}
    pictures = (*columns.images, *([columns.video] if columns.video else []))
    for modality, names, hint in (
        (Modality.TEXT, columns.text, "pocket, open_clip:…, hf:… and st:… do"),
        (Modality.IMAGE, pictures, "pocket, open_clip:… and hf:… do"),
        (
            Modality.AUDIO,
            (columns.audio,) if columns.audio else (),
            f"clap:NAME does, and {encoder.name}+clap:NAME does beside the rest",
        ),
    ):
        if modality not in encoder.modalities:
            reasons |= dict.fromkeys(names, f"the encoder {encoder.name} embeds no {modality}: {hint}")
    return reasons


"""Takes what a bundle has learned over to the items of a new generation."""
