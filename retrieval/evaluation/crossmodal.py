"""Cross-modal retrieval: text to image, image to text, and either to the item."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.arrays import Vectors, check_vectors, unit
from indexing.catalogue.catalogue import Catalogue, Item
from indexing.encoders.base import Encoder
from indexing.errors import InputError, SeparateSpacesError, ShapeError
from indexing.media.decode import Decoded
from indexing.media.files import Kind, Modality
from indexing.media.images import UnusableImage, read_picture
from indexing.store.shared_pool import decode_all, task_for
from retrieval.evaluation.evaluate import Estimate, Evaluation
from retrieval.evaluation.metrics import coverage
from retrieval.retriever.retriever import Retriever

# Scores of the same vectors differ by rounding, depending on their position in a matrix; vectors have unit length.
TOLERANCE = 1e-6
_MAX_SCORES = 16_000_000  # scores in memory at a time


@dataclass(frozen=True, eq=False)
class Side:
    """One side of pairs.

    Attributes:
        vectors: (L, D) float32, of any norm but zero; searched by cosine.
        item_ids: L ids; rows with the same id belong together. Several rows may have one id, such as five captions of
            one image.
        space: Name of the separate space of the vectors, or empty; sides with different names cannot be compared.
    """

    vectors: Vectors
    item_ids: tuple[str, ...]
    space: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", unit(check_vectors(self.vectors)))
        object.__setattr__(self, "item_ids", tuple(self.item_ids))
        if len(self.vectors) != len(self.item_ids):
            raise ShapeError(f"{len(self.vectors)} vectors but {len(self.item_ids)} item ids; give one per vector")


def evaluate_pairs(queries: Side, targets: Side, *, ks: Sequence[int] = (1, 5, 10)) -> Evaluation:
    """Search the rows of one side among all rows of the other, exactly: the target has the same item id.

    For each query, ``rank`` is that of its best target, counting from 1; lower is better. Ties are counted against the
    query: other rows with the same score rank before its targets, so that identical vectors retrieve nothing.
    ``hit_rate@k`` is 1 if the rank is at most k; papers on cross-modal retrieval call it R@k, also with several
    captions per image. ``mrr`` is 1 / rank. The median rank is ``catalogue["median_rank"]``; `median_rank` returns its
    interval.

    Args:
        queries: The query side.
        targets: The side that is searched. Queries without a target are left out and counted as ``skipped``.
        ks: The cutoffs of the hit rates.

    Raises:
        InputError: If no query has a target, or a cutoff is below 1.
        ShapeError: If the two have vectors of different dimensions.
        SeparateSpacesError: If the two are in different separate spaces.

    >>> texts = Side(np.array([[1, 0.1], [0.1, 1]], np.float32), ("cat", "dog"))
    >>> images = Side(np.array([[1, 0], [1, 0.3], [0, 1]], np.float32), ("cow", "cat", "dog"))
    >>> evaluate_pairs(texts, images, ks=[1, 2]).per_query["rank"]
    array([2., 1.])
    """
    if not comparable(queries, targets):
        raise SeparateSpacesError(
            f"queries are in the space of {queries.space} and targets in that of {targets.space}, which were made by "
            "different models: no cosine between them means anything; embed both with one model, or let each look for "
            "the items"
        )
    if queries.vectors.shape[1] != targets.vectors.shape[1]:
        raise ShapeError(
            f"queries have {queries.vectors.shape[1]} dimensions and targets {targets.vectors.shape[1]}; "
            "both must be in one space"
        )
    if invalid := [k for k in ks if k < 1]:
        raise InputError(f"a cutoff of {invalid[0]} has no meaning; give cutoffs of at least 1, such as 1, 5 and 10")
    code_of = {item_id: code for code, item_id in enumerate(dict.fromkeys(targets.item_ids))}
    with_target = [row for row, item_id in enumerate(queries.item_ids) if item_id in code_of]
    if not with_target:
        raise InputError("no query has its item id among the targets; do both sides have the same ids?")
    query_codes = np.array([code_of[queries.item_ids[row]] for row in with_target])
    target_codes = np.array([code_of[item_id] for item_id in targets.item_ids])
    ranks, top = _ranks(queries.vectors[with_target], targets.vectors, query_codes, target_codes)
    hits = {f"hit_rate@{k}": (ranks <= k).astype(np.float64) for k in ks}
    return Evaluation(
        query_ids=tuple(_named([queries.item_ids[row] for row in with_target])),
        per_query=hits | {"mrr": 1 / ranks, "rank": ranks},
        coverage={"coverage@1": coverage(top[:, None], len(targets.item_ids), 1)},
        skipped=len(queries.item_ids) - len(with_target),
        catalogue={"median_rank": float(np.median(ranks))},
    )


def cross_modal(sides: Mapping[str, Side], *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, Evaluation]:
    """Evaluate every pair of sides with another query side than ``"item"``: ``"text→image"``, ``"image→item"``, ….

    Item vectors are made of the texts and images that are searched with: ``"text→item"`` and ``"image→item"`` measure
    how much of each the item vector keeps. Pairs in different separate spaces are left out.

    Args:
        sides: By modality, and ``"item"`` for the item vectors.
        ks: The cutoffs of the hit rates.
    """
    return {
        f"{query}→{target}": evaluate_pairs(sides[query], sides[target], ks=ks)
        for query in sides
        for target in sides
        if query not in (target, "item") and comparable(sides[query], sides[target])
    }


def comparable(a: Side, b: Side) -> bool:
    """Return whether two sides share a space, so that their cosines can be compared."""
    return not (a.space and b.space) or a.space == b.space


def median_rank(evaluation: Evaluation, *, level: float = 0.95, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Return the median rank of an evaluation, and its bootstrap interval."""
    ranks = evaluation.per_query["rank"]
    rng = np.random.default_rng(seed)
    medians = [float(np.median(ranks[rng.integers(len(ranks), size=len(ranks))])) for _ in range(resamples)]
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return Estimate("median_rank", float(np.median(ranks)), float(low), float(high))


def _ranks(
    queries: Vectors, targets: Vectors, query_codes: NDArray[np.int64], target_codes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the rank of each query's best target, and the top row of each query."""
    ranks: NDArray[np.float64] = np.empty(len(queries))
    top = np.empty(len(queries), np.int64)
    chunk_size = max(1, _MAX_SCORES // max(1, len(targets)))
    for start in range(0, len(queries), chunk_size):
        chunk = slice(start, start + chunk_size)
        scores = queries[chunk] @ targets.T
        is_target = target_codes[None, :] == query_codes[chunk, None]
        best = np.where(is_target, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[chunk] = 1 + ((scores >= best - np.float32(TOLERANCE)) & ~is_target).sum(axis=1)
        top[chunk] = scores.argmax(axis=1)
    return ranks, top


def _named(item_ids: Sequence[str]) -> list[str]:
    """Return unique query ids: the item id, numbered from the second query of an item on."""
    seen: dict[str, int] = {}
    names = []
    for item_id in item_ids:
        seen[item_id] = seen.get(item_id, 0) + 1
        names.append(item_id if seen[item_id] == 1 else f"{item_id} #{seen[item_id]}")
    return names


def sides_of(retriever: Retriever) -> dict[str, Side]:
    """Return the sides that a bundle stores: the vectors of each modality, and the item vectors.

    Nothing is encoded. Each of several images of an item has a row of its own.
    """
    bundle = retriever.bundle
    sides = {}
    for modality, parts in bundle.parts.items():
        mask = bundle.is_live[parts.rows]
        if mask.any():
            item_ids = tuple(bundle.items[row] for row in parts.rows[mask].tolist())
            space = str(modality) if bundle.manifest.encoder.separate else ""
            sides[str(modality)] = Side(parts.vectors[mask].astype(np.float32), item_ids, space)
    live_rows = np.flatnonzero(bundle.is_live & retriever.vectors.any(axis=1))
    sides["item"] = Side(retriever.vectors[live_rows], tuple(bundle.items[row] for row in live_rows.tolist()))
    return sides


def encoded_sides(catalogue: Catalogue, encoder: Encoder, *, batch_size: int = 64) -> dict[str, Side]:
    """Encode the texts and images of a catalogue, to evaluate an encoder before a bundle is built.

    Images that cannot be read are left out.

    Args:
        catalogue: The items.
        encoder: An encoder of texts and images into one space.
        batch_size: Number of items per batch.

    Raises:
        InputError: If there is no text, or no image that can be read.
    """
    vectors: dict[Modality, list[Vectors]] = {Modality.TEXT: [], Modality.IMAGE: []}
    item_ids: dict[Modality, list[str]] = {Modality.TEXT: [], Modality.IMAGE: []}
    for items in catalogue.batches(batch_size):
        texts = [(item.item_id, item.text) for item in items if item.text]
        pictures = [pair for item in items for pair in _pictures(item, encoder)]
        item_ids[Modality.TEXT] += [item_id for item_id, _ in texts]
        item_ids[Modality.IMAGE] += [item_id for item_id, _ in pictures]
        vectors[Modality.TEXT].append(encoder.encode_texts([text for _, text in texts]))
        vectors[Modality.IMAGE].append(encoder.encode_images([picture for _, picture in pictures]))
    if missing := [str(modality) for modality, names in item_ids.items() if not names]:
        raise InputError(f"no item has a usable {' or '.join(missing)}, so that there are no pairs")
    return {str(m): Side(np.concatenate(vectors[m]), tuple(item_ids[m])) for m in vectors}


def _pictures(item: Item, encoder: Encoder) -> Iterator[tuple[str, Image.Image]]:
    """Decode the images of an item that can be read."""
    task = task_for(encoder)
    for medium in item.media:
        if medium.kind is Kind.IMAGE and medium.source is not None:
            with suppress(UnusableImage):
                (outcome,) = decode_all(Kind.IMAGE, [read_picture(medium.source, task.pictures)], task)
                if isinstance(outcome, Decoded):
                    yield item.item_id, Image.fromarray(outcome.arrays[0])
