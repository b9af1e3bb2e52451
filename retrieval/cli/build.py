"""`commonspace build` and `commonspace info`."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import REJECTS
from indexing.bundle.maintenance.rollback import generations
from indexing.bundle.manifest import Manifest
from indexing.bundle.text_separation import WAY_OUT, told_apart
from indexing.catalogue.attributes import attributes_in_words
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import taken_in_words
from indexing.encoders import load_encoder
from indexing.index import IndexConfig
from indexing.index.tuning.build import IndexKind
from indexing.media.audio import SoundLimits
from indexing.media.images import PictureLimits
from indexing.media.pool import MEMORY, SECONDS
from indexing.media.video import FilmLimits
from indexing.sample import items_path
from indexing.store.encode import EncodeConfig
from retrieval.cli.display.columns import (
    AudioColumn,
    ImageColumns,
    ItemIdColumn,
    TextColumns,
    VectorColumns,
    VideoColumn,
    columns_in_words,
    item_columns,
)
from retrieval.cli.display.curves import write_curve, write_losses
from retrieval.cli.display.output import FIRST, OUT_FOLDER, Json, counted, quarantined, rejected_rows
from retrieval.cli.display.terminal import Cell, say, show_json, show_pairs, usage_checked
from retrieval.fitting.carry_over import carry_over
from retrieval.retriever.index_status import DegradedIndexWarning, Status
from retrieval.retriever.retriever import Retriever

SAMPLE, DEFAULT_ENCODER = "sample", "pocket"
FALLBACK = (
    "pocket is a small fall-back encoder, for English texts and simple pictures; for data of your own take one such as "
    "--encoder open_clip:ViT-B-32-SigLIP2-256/webli"
)
SOURCE_HELP = "A .parquet, .csv, .jsonl or .tar file, a folder of pictures or tars, dataset:FOLDER, a URL, or 'sample'."
Precision = Literal["auto", "float32", "bfloat16", "float16"]
AllowUrls = Annotated[bool, typer.Option("--allow-urls", help="Fetch the table from a URL; pictures never are.")]


def build(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)],
    out: Annotated[Path, typer.Option(callback=OUT_FOLDER, help="Folder of the bundle.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="pocket, open_clip:ARCH/TAG, hf:NAME, st:NAME, clap:NAME, MAIN+clap:NAME, vectors:, vectors:separate."
        ),
    ] = DEFAULT_ENCODER,
    images: Annotated[Path | None, typer.Option("--image-dir", help="Folder that image paths start from.")] = None,
    item_id: ItemIdColumn = None,
    text: TextColumns = None,
    image: ImageColumns = None,
    audio: AudioColumn = None,
    video: VideoColumn = None,
    vector: VectorColumns = None,
    index: Annotated[IndexKind, typer.Option(help="Family of the index.")] = "auto",
    min_recall: Annotated[float, typer.Option(help="Share of the exact best 10 the index must find.")] = 0.95,
    index_memory: Annotated[
        str | None,
        typer.Option(
            "--max-index-memory", help="Most memory of the index, and with shards of building it, as 512M or 2G."
        ),
    ] = None,
    index_on_disk: Annotated[
        bool, typer.Option("--index-on-disk", help="Leave the codes of shards on disk: less memory, slower.")
    ] = False,
    index_latency: Annotated[
        float | None, typer.Option("--max-latency-ms", help="Longest time of one query, in ms.")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Of the encoder's numbers.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Items encoded and stored at once.")] = 256,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode files; one for each core if not given.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Most pixels of a picture, or of a frame of a film.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Most bytes of a file, of whatever kind.")] = None,
    max_memory: Annotated[
        int, typer.Option("--max-decode-memory", help="Most bytes of memory to decode one file.")
    ] = MEMORY,
    frames: Annotated[int, typer.Option("--num-frames", help="Pictures taken from a film.")] = EncodeConfig.frames,
    max_seconds: Annotated[
        float, typer.Option("--max-decode-seconds", help="Longest processor time to decode one file.")
    ] = SECONDS,
    allow_urls: AllowUrls = False,
    drop_learned: Annotated[
        bool,
        typer.Option("--drop-learned", help="Build without what the bundle has learned; else items keep it."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Encode items, index them and publish a bundle; a build that was stopped goes on where it stopped."""
    with usage_checked():
        config = IndexConfig(
            min_recall,
            kind=index,
            max_memory=index_memory,
            max_latency_ms=index_latency,
            on_disk=index_on_disk,
        )
        encode = EncodeConfig(
            batch_size,
            workers,
            PictureLimits(max_pixels or PictureLimits.pixels, max_bytes or PictureLimits.file_bytes),
            SoundLimits(file_bytes=max_bytes or SoundLimits.file_bytes),
            FilmLimits(pixels=max_pixels or FilmLimits.pixels, file_bytes=max_bytes or FilmLimits.file_bytes),
            frames,
            max_seconds,
            max_memory,
        )
    path = items_path() if source == SAMPLE else source
    named = item_columns(item_id, text, image, audio, video, vector)
    catalogue = Catalogue.open(path, images=images, columns=named, allow_urls=allow_urls)
    if encoder == DEFAULT_ENCODER:
        say(FALLBACK, err=True)
    model = load_encoder(encoder, precision=precision)
    bundle = build_bundle(
        catalogue, model, out, index=config, encode=encode, progress=True, carry=carry_over, drop_learned=drop_learned
    )
    _show(bundle, as_json, cautions=cautions(bundle))


def info(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    curve: Annotated[
        Path | None,
        typer.Option("--recall-curve", help="Draw recall against queries/s into this .html file."),
    ] = None,
    losses: Annotated[
        Path | None,
        typer.Option("--loss-curve", help="Draw the losses of what was learned into this .html file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a bundle contains, what its index was measured to do and does now, and what it has learned."""
    opened = Bundle.open(bundle)
    if curve is not None:
        write_curve(opened.manifest.index, curve, str(bundle))
    if losses is not None:
        write_losses(opened.manifest.learned.get("training", {}), losses, str(bundle))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegradedIndexWarning)  # which is shown below
        status = Retriever(opened).status
    _show(opened, as_json, status)


def cautions(bundle: Bundle) -> list[str]:
    """Say what speaks against the encoder of a bundle that was just built: whether it tells the texts apart."""
    told = told_apart(bundle, np.random.default_rng(0))
    return [] if told is None or told.good else [f"{told.in_words()}: {WAY_OUT}"]


def _show(bundle: Bundle, as_json: bool, status: Status | None = None, cautions: Sequence[str] = ()) -> None:
    since = {"batches": len(bundle.batches), "items_now": int(bundle.alive.sum())}
    if as_json:
        rejects = pq.read_table(pa.BufferReader(bundle.read(REJECTS))).slice(0, FIRST).to_pylist()
        named = {"rejected_first": rejects, "quarantined_first": quarantined(bundle)}
        measured = {"cautions": list(cautions)} if status is None else {"status": status.to_json()}
        attributes = attributes_in_words(bundle.attributes.schema)
        more = {"attributes": attributes, "changes_since": since, "kept": generations(bundle.root), **named, **measured}
        show_json(_summary(bundle.manifest, bundle.root) | more)
        return
    pairs: dict[str, Cell] = dict(_in_words(bundle.manifest))
    rejects = pq.read_table(pa.BufferReader(bundle.read(REJECTS)))
    if (count := bundle.manifest.counts["quarantined"]) and (first := quarantined(bundle)):
        pairs["quarantined first"] = [*first, *(["…"] if count > len(first) else [])]
    if told := rejected_rows(bundle.manifest.counts["cleaning"]["rejected"], rejects):
        pairs["rejected"] = told
    if status is not None:
        pairs["now"] = _now(status)
    taken, attributes = taken_in_words(bundle.manifest.columns), attributes_in_words(bundle.attributes.schema)
    pairs |= columns_in_words(bundle.manifest.counts["cleaning"], attributes, taken)
    if unread := bundle.manifest.counts.get("not_embedded"):
        pairs["not encoded"] = "; ".join(f"{name}: {reason}" for name, reason in unread.items())
    if len(kept := generations(bundle.root)) > 1:
        pairs["kept"] = f"{', '.join(kept)}; `commonspace rollback {bundle.root} --to NAME` puts one in force"
    if bundle.batches:
        pairs["changes since"] = f"{counted(since['batches'], 'batch')}, {counted(since['items_now'], 'item')} now"
    show_pairs(str(bundle.root), pairs)
    for caution in cautions:
        say(f"caution: {caution}")


def _now(status: Status) -> str:
    """Say in words what was measured at opening."""
    if status.degraded:
        return "degraded: " + "; ".join(status.reasons)
    recall = ", ".join(f"{kind} {value:.3f}" for kind, value in status.recall.items())
    return f"recall of stored queries {recall}" if recall else "nothing was stored to measure"


def _summary(manifest: Manifest, folder: Path) -> dict[str, Any]:
    counts = manifest.counts
    return {
        "bundle": str(folder),
        "generation": manifest.generation,
        "items": manifest.items,
        "encoder": manifest.encoder.name,
        "precision": manifest.encoder.precision,
        "fingerprint": manifest.encoder.fingerprint,
        "dim": manifest.encoder.dim,
        "embeddings": counts["embeddings"],
        "rows_rejected": counts["cleaning"]["rejected"],
        "left_out": counts["cleaning"].get("left_out", {}),
        "columns": {kind: names for kind, names in manifest.columns.items() if names},
        **{name: counts[name] for name in ("not_embedded", "without_embedding") if name in counts},
        **{name: counts["cleaning"].get(name, {}) for name in ("read_as", "as_text", "columns_left_out")},
        "quarantined": counts["quarantined"],
        "quarantine_reasons": counts.get("quarantine_reasons", {}),
        **({"bridge": counts["bridge"]} if "bridge" in counts else {}),
        "encoding": counts["encoding"],
        "index": manifest.index,
        "learned": manifest.learned.get("measured", {}),
        "features": list(manifest.features),
        "bytes": _bytes(manifest),
    }


def _in_words(manifest: Manifest) -> dict[str, str]:
    counts, encoder, index = manifest.counts, manifest.encoder, manifest.index
    encoding, lacking = counts["encoding"], counts.get("without_embedding", 0)
    seconds = sum(encoding["seconds"].values())
    recall = ", ".join(f"{kind} {value:.3f}" for kind, value in index["recall"].items())
    return {
        "generation": manifest.generation,
        "items": f"{manifest.items} ({counted(sum(counts['cleaning']['rejected'].values()), 'row')} rejected)",
        **_counted("left out", counts["cleaning"].get("left_out", {})),
        "embeddings": ", ".join(f"{count} {modality}" for modality, count in counts["embeddings"].items()),
        "quarantined": f"{counts['quarantined']} texts or files that could not be encoded",
        **_counted("for", counts.get("quarantine_reasons", {})),
        "encoded": f"{encoding['encoded']} in {seconds:.1f} s, {encoding['copied']} copied, {encoding['resumed']} kept",
        "encoder": f"{encoder.name}, {encoder.dim} dimensions, {encoder.precision}",
        **({"spaces": _spaces(counts["bridge"])} if encoder.separate else {}),
        "index": f"{index.get('family', index['kind'])}, recall@{index['k']} {recall}",
        **({"left without a vector": f"{counted(lacking, 'item')}, which nothing finds"} if lacking else {}),
        **_goals_and_efforts(index),
        "learned": ", ".join(manifest.features) or "nothing yet: run `commonspace fit`",
        "size": f"{_bytes(manifest) / 1e6:.1f} MB",
    }


def _counted(name: str, counts: Mapping[str, int]) -> dict[str, str]:
    """Give a line of what was counted, or none."""
    return {name: ", ".join(f"{reason} {count}" for reason, count in counts.items())} if counts else {}


def _spaces(learned: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what was kept of modalities that are spaces of their own."""
    kept = (
        f"{name} {one['length']} to {one['kept_dimensions']} ({one['kept_variance']:.0%})"
        for name, one in learned.items()
    )
    return f"{', '.join(kept)}; not comparable with each other"


def _goals_and_efforts(index: Mapping[str, Any]) -> dict[str, str]:
    efforts = [
        f"{kind} {' '.join(f'{value} {name}' for name, value in effort.items())}"
        for kind, effort in index.get("efforts", {}).items()
    ]
    unmet = index.get("unmet", ())
    return ({"effort": ", ".join(efforts)} if efforts else {}) | ({"unmet": "; ".join(unmet)} if unmet else {})


def _bytes(manifest: Manifest) -> int:
    return sum(record.size for record in manifest.files)
