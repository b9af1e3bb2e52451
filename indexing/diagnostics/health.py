"""How healthy a bundle's vectors are: findings, each with a verdict and a hint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.bundle.generation import STORE
from indexing.bundle.text_separation import HINT, measure_text_separation
from indexing.diagnostics.geometry import (
    Occurrences,
    finite_units,
    identical,
    mean_cosine,
    modality_gap,
    occurrences,
    spectrum,
    unusable,
)
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from indexing.store.store import EmbeddingStore

MAX_ITEMS, MAX_QUERIES = 200_000, 5_000
K = 10
MIN_DUPLICATE_COSINE = 0.999

# Where a verdict turns: what real CLIP vectors, which serve well, stay under.
MAX_GAP_FRACTION = 0.7
MAX_MEAN_COSINE = 0.6
MIN_DIRECTIONS = 10.0
MAX_EXCESS_SKEWNESS = 3.0
MAX_DUPLICATES = 0.01
MAX_QUARANTINED = 0.01


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Attributes:
        name: What was looked at.
        values: What was measured.
        good: Whether there is nothing to do.
        verdict: One line for people.
        hint: What to do; empty when there is nothing.
    """

    name: str
    values: Mapping[str, Any]
    good: bool
    verdict: str
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "name": self.name,
            "values": dict(self.values),
            "good": self.good,
            "verdict": self.verdict,
            "way_out": self.hint,
        }


def examine(bundle: Bundle, *, seed: int = 0) -> list[Finding]:
    """Look at a bundle's vectors; the same seed gives the same findings.

    At most 5,000 queries are searched against at most 200,000 items, all drawn at random.

    Args:
        bundle: The generation.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    count = len(bundle.require_compacted().items)
    rows = np.arange(count)
    if count > MAX_ITEMS:
        rows = np.sort(rng.choice(count, MAX_ITEMS, replace=False))
    frozen = bundle.modality_vectors.take(rows)
    items = unit(served_vectors(bundle)[rows, : bundle.manifest.encoder.dim])  # content, without behaviour
    names = [bundle.items[row] for row in rows]
    separate = bundle.manifest.encoder.separate
    return [
        _damage(frozen),
        _quarantine(bundle),
        *_texts(bundle, seed),
        *examine_vectors(frozen, items, names, rng, separate=separate),
    ]


def examine_vectors(
    frozen: ModalityVectors,
    items: Vectors,
    item_ids: Sequence[str],
    rng: np.random.Generator,
    *,
    separate: bool = False,
) -> list[Finding]:
    """Look at the geometry of vectors: gaps, spread, hubs and duplicates.

    Args:
        frozen: What N items are made from.
        items: (N, D) float32, unit length: what is served.
        item_ids: Their N names.
        rng: Draws pairs and queries.
        separate: Whether the modalities are different spaces, between which there is no gap to measure.
    """
    gaps = _no_gaps(frozen) if separate else _gaps(frozen, rng)
    findings = [*gaps, _anisotropy(frozen, items)]
    if len(items) > 1:
        lists = _lists(frozen, items, rng)
        findings += [_hubness(f"{kind} to item", lists_found, item_ids) for kind, lists_found in lists.items()]
        findings.append(_duplicates(items, lists["item"]))
    return findings


def _damage(frozen: ModalityVectors) -> Finding:
    values = {}
    for modality in frozen.modalities:
        infinite, zero = unusable(frozen.vectors[modality][frozen.exists[modality]])
        values[str(modality)] = {"not_finite": infinite, "zero": zero}
    num_bad = sum(sum(counts.values()) for counts in values.values())
    if not num_bad:
        return Finding("damage", values, True, "no vector is NaN, infinite or zero")
    return Finding("damage", values, False, f"{num_bad} vectors are NaN, infinite or zero", "build the bundle again")


def _quarantine(bundle: Bundle) -> Finding:
    reasons = EmbeddingStore(bundle.folder / STORE, bundle.manifest.encoder.dim).reasons()
    rejected = bundle.manifest.counts["cleaning"]["rejected"]
    total = sum(reasons.values())
    embeddings = sum(bundle.manifest.counts["embeddings"].values())
    values = {"quarantined": dict(reasons.most_common()), "rows_rejected": dict(rejected), "embeddings": embeddings}
    summary = f"{total} texts, pictures or vectors were quarantined beside {embeddings} embedded"
    if total <= MAX_QUARANTINED * (total + embeddings):
        return Finding("quarantine", values, True, summary)
    commonest = reasons.most_common(1)[0]
    return Finding(
        "quarantine",
        values,
        False,
        f"{summary}, {commonest[1]} of them: {commonest[0]}",
        "mend these in the source and build again; what is encoded already is kept",
    )


def _texts(bundle: Bundle, seed: int) -> Iterator[Finding]:
    separation = measure_text_separation(bundle, np.random.default_rng(seed))
    if separation is not None:
        yield Finding(
            "texts", separation.to_json(), separation.good, separation.in_words(), "" if separation.good else HINT
        )


def _no_gaps(frozen: ModalityVectors) -> Iterator[Finding]:
    for first, second in combinations(frozen.modalities, 2):
        verdict = "not measured: they are different spaces, and none is compared with another"
        yield Finding(f"gap {first}-{second}", {}, True, verdict)


def _gaps(frozen: ModalityVectors, rng: np.random.Generator) -> Iterator[Finding]:
    for first, second in combinations(frozen.modalities, 2):
        first_vectors, second_vectors = (finite_units(frozen.vectors[m][frozen.exists[m]]) for m in (first, second))
        if not len(first_vectors) or not len(second_vectors):
            continue
        gap, distance = modality_gap(first_vectors, second_vectors, rng)
        fraction = gap / distance if distance else 0.0
        values = {"gap": _round(gap), "mean_distance": _round(distance), "share": _round(fraction)}
        name, summary = (
            f"gap {first}-{second}",
            f"the means are {gap:.2f} apart, {fraction:.0%} of a mean pair's distance",
        )
        if fraction <= MAX_GAP_FRACTION:
            yield Finding(name, values, True, summary)
        else:
            yield Finding(
                name,
                values,
                False,
                f"{summary}: an item with both modalities and one with a single one are hardly comparable",
                "give all items the same modalities, or fit an adapter; centring is weighed in docs/decisions/0006",
            )


def _anisotropy(frozen: ModalityVectors, items: Vectors) -> Finding:
    clouds = {str(m): finite_units(frozen.vectors[m][frozen.exists[m]]) for m in frozen.modalities} | {"item": items}
    values = {}
    for name, vectors in clouds.items():
        ratio, rank = spectrum(vectors)
        values[name] = {
            "mean_cosine": _round(mean_cosine(vectors)),
            "participation_ratio": round(ratio, 1),
            "effective_rank": round(rank, 1),
        }
    cosine, ratio = values["item"]["mean_cosine"], values["item"]["participation_ratio"]
    min_directions = min(MIN_DIRECTIONS, len(items) / 4, items.shape[1] / 4)
    summary = f"two items have cosine {cosine:.2f} on average and spread in {ratio:.1f} of {items.shape[1]} directions"
    if cosine <= MAX_MEAN_COSINE and ratio >= min_directions:
        return Finding("anisotropy", values, True, summary)
    return Finding(
        "anisotropy",
        values,
        False,
        f"{summary}: scores lie close together",
        "compare ranks, not scores; fit an adapter, or choose an encoder that tells these items apart",
    )


def _lists(frozen: ModalityVectors, items: Vectors, rng: np.random.Generator) -> dict[str, Occurrences]:
    """Search with samples of what queries look like: one modality of an item, and items."""
    lists = {}
    for modality in (m for m in (Modality.TEXT, Modality.IMAGE) if m in frozen.modalities):
        vectors = frozen.vectors[modality]
        rows = np.flatnonzero(frozen.exists[modality] & np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))
        rows = _sample_rows(rows, rng)
        if len(rows):
            lists[str(modality)] = occurrences(unit(vectors[rows]), items, rows, K)
    rows = _sample_rows(np.arange(len(items)), rng)
    lists["item"] = occurrences(items[rows], items, rows, K)
    return lists


def _sample_rows(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= MAX_QUERIES else np.sort(rng.choice(rows, MAX_QUERIES, replace=False))


def _hubness(name: str, lists: Occurrences, item_ids: Sequence[str]) -> Finding:
    largest = int(lists.counts.argmax())
    hubs = int((lists.counts > lists.counts.mean() + 2 * lists.counts.std()).sum())
    values = {
        "queries": len(lists.best_scores),
        "items": len(lists.counts),
        "k": lists.k,
        "skewness": _round(lists.skewness),
        "skewness_by_chance": _round(lists.skewness_by_chance),
        "never": _round(lists.never),
        "never_by_chance": _round(lists.never_by_chance),
        "hubs": hubs,
        "largest_hub": item_ids[largest],
        "largest_hub_in_lists": int(lists.counts[largest]),
    }
    summary = (
        f"skewness {lists.skewness:.1f} (by chance {lists.skewness_by_chance:.1f}), {lists.never:.0%} of items are in "
        f"no list (by chance {lists.never_by_chance:.0%})"
    )
    if lists.skewness - lists.skewness_by_chance <= MAX_EXCESS_SKEWNESS:
        return Finding(f"hubness {name}", values, True, summary)
    return Finding(
        f"hubness {name}",
        values,
        False,
        f"{summary}: {item_ids[largest]!r} is in {lists.counts[largest]} of {len(lists.best_scores)} lists",
        "look at the largest hub, often an empty or generic item, and remove or mend it; then try another encoder",
    )


def _duplicates(items: Vectors, lists: Occurrences) -> Finding:
    same = identical(items) / len(items)
    near = float((lists.best_scores > MIN_DUPLICATE_COSINE).mean())
    values = {"identical": _round(same), "near": _round(near), "near_means_cosine_over": MIN_DUPLICATE_COSINE}
    summary = (
        f"{same:.1%} of items repeat another's vector, {near:.1%} have a twin (cosine over {MIN_DUPLICATE_COSINE})"
    )
    if near <= MAX_DUPLICATES and same <= MAX_DUPLICATES:
        return Finding("duplicates", values, True, summary)
    return Finding("duplicates", values, False, summary, "drop twins from the source, or they fill each other's lists")


def _round(value: float) -> float:
    return round(value, 4)
