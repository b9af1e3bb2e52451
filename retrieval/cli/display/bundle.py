"""A bundle as tables and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import REJECTS, generations
from indexing.bundle.manifest import Manifest
from indexing.catalogue.attributes import attributes_in_words
from indexing.catalogue.columns import describe_columns
from retrieval.cli.display.columns import columns_in_words
from retrieval.cli.display.output import NUM_EXAMPLES, counted, quarantined, rejected_rows
from retrieval.cli.display.terminal import Cell, say, show_json, show_pairs
from retrieval.ranking.published_heads import PublishedHeads
from retrieval.retriever.index_status import TEXTS_UNMEASURED, Status, texts_are_unmeasured


def show_bundle(
    bundle: Bundle,
    as_json: bool,
    status: Status | None = None,
    cautions: Sequence[str] = (),
    heads: PublishedHeads | None = None,
) -> None:
    """Show the contents of a bundle, the recall of its index, and its learned parts.

    Args:
        bundle: The bundle.
        as_json: Print JSON.
        status: The recall that was measured when it was opened.
        cautions: What speaks against its encoder.
        heads: Which requests the heads of its second stage order.
    """
    changes = {"batches": len(bundle.batches), "items_now": int(bundle.is_live.sum())}
    if as_json:
        rejects = pq.read_table(pa.BufferReader(bundle.read(REJECTS))).slice(0, NUM_EXAMPLES).to_pylist()
        named = {"rejected_first": rejects, "quarantined_first": quarantined(bundle)}
        measured = {"cautions": list(cautions)} if status is None else {"status": status.to_json()}
        attributes = attributes_in_words(bundle.attributes.schema)
        more = {
            "attributes": attributes,
            "changes_since": changes,
            "kept": generations(bundle.root),
            **named,
            **measured,
            **({} if heads is None else {"second_stage": heads.to_json()}),
        }
        show_json("bundle", _summary(bundle.manifest, bundle.root) | more)
        return
    pairs: dict[str, Cell] = dict(_in_words(bundle.manifest))
    rejects = pq.read_table(pa.BufferReader(bundle.read(REJECTS)))
    if (count := bundle.manifest.counts["quarantined"]) and (first := quarantined(bundle)):
        pairs["quarantined first"] = [*first, *(["…"] if count > len(first) else [])]
    if rejected := rejected_rows(bundle.manifest.counts["cleaning"]["rejected"], rejects):
        pairs["rejected"] = rejected
    if heads is not None:
        pairs |= heads.in_words()
    if status is not None:
        pairs["now"] = _now(status)
    used_columns, attributes = describe_columns(bundle.manifest.columns), attributes_in_words(bundle.attributes.schema)
    pairs |= columns_in_words(bundle.manifest.counts["cleaning"], attributes, used_columns)
    if not_embedded := bundle.manifest.counts.get("not_embedded"):
        pairs["not encoded"] = "; ".join(f"{name}: {reason}" for name, reason in not_embedded.items())
    if len(kept := generations(bundle.root)) > 1:
        pairs["kept"] = f"{', '.join(kept)}; `commonspace rollback {bundle.root} --to NAME` makes one current"
    if bundle.batches:
        pairs["changes since"] = f"{counted(changes['batches'], 'batch')}, {counted(changes['items_now'], 'item')} now"
    show_pairs(str(bundle.root), pairs)
    for caution in cautions:
        say(f"caution: {caution}")


def _now(status: Status) -> str:
    """Describe the recall that was measured at opening."""
    if status.degraded:
        return "degraded: " + "; ".join(status.reasons)
    recall = ", ".join(f"{kind} {value:.3f}" for kind, value in status.recall.items())
    return (
        f"recall of a few stored queries, by which damage is seen: {recall}"
        if recall
        else "nothing was stored to measure"
    )


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
        "unmeasured": ["text"] if texts_are_unmeasured(manifest) else [],
        "learned": manifest.learned.get("measured", {}),
        "features": list(manifest.features),
        "bytes": _bytes(manifest),
    }


def _in_words(manifest: Manifest) -> dict[str, str]:
    counts, encoder, index = manifest.counts, manifest.encoder, manifest.index
    encoding, without_vector = counts["encoding"], counts.get("without_embedding", 0)
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
        **({"lists and codes": _trained(index["trained"])} if "trained" in index else {}),
        **(
            {"left without a vector": f"{counted(without_vector, 'item')}, which nothing finds"}
            if without_vector
            else {}
        ),
        **({"not promised": f"texts: {TEXTS_UNMEASURED}"} if texts_are_unmeasured(manifest) else {}),
        **_goals_and_efforts(index),
        "learned": ", ".join(manifest.features) or "nothing yet: run `commonspace fit`",
        "size": f"{_bytes(manifest) / 1e6:.1f} MB",
    }


def _counted(name: str, counts: Mapping[str, int]) -> dict[str, str]:
    """Give a line of what was counted, or none."""
    return {name: ", ".join(f"{reason} {count}" for reason, count in counts.items())} if counts else {}


def _trained(trained: Mapping[str, Any]) -> str:
    return (
        f"trained on the {trained['rows']} items of {trained['generation']}; since then came or went "
        f"{counted(trained['changed'], 'item')}"
    )


def _spaces(learned: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe how much variance is kept of modalities that are separate spaces."""
    spaces = (
        f"{name} {space['length']} to {space['kept_dimensions']} ({space['kept_variance']:.0%})"
        for name, space in learned.items()
    )
    return f"{', '.join(spaces)}; not comparable with each other"


def _goals_and_efforts(index: Mapping[str, Any]) -> dict[str, str]:
    efforts = [
        f"{kind} {' '.join(f'{value} {name}' for name, value in effort.items())}"
        for kind, effort in index.get("efforts", {}).items()
    ]
    unmet = index.get("unmet", ())
    return ({"effort": ", ".join(efforts)} if efforts else {}) | ({"unmet": "; ".join(unmet)} if unmet else {})


def _bytes(manifest: Manifest) -> int:
    return sum(record.size for record in manifest.files)
