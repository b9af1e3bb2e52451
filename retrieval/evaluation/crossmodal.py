"""Whether the two sides of a pair find each other: text to image, image to text, and either to the item."""

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
from indexing.media.images import UnusablePicture, read_picture
from indexing.store.shared_pool import decode_all, task_for
from retrieval.evaluation.evaluate import Estimate, Evaluation
from retrieval.evaluation.metrics import coverage
from retrieval.retriever.retriever import Retriever

# Scores of the same vectors differ by rounding, depending on where they stand in a matrix: relative to unit length.
TIE = 1e-6
_AT_ONCE = 16_000_000  # scores held at a time


@dataclass(frozen=True, eq=False)
class Side:
    """One side of pairs.

    Attributes:
        vectors: (L, D) float32, any length but zero; searched by cosine.
        owners: L names; what has the same name belongs together. Several lines may have one, as five captions of a
            picture have.
        space: Name of the space of its own that they are in, if they are in one; such a side can be compared with one
            of the same name or without any.
    """

    vectors: Vectors
    owners: tuple[str, ...]
    space: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", unit(check_vectors(self.vectors)))
        object.__setattr__(self, "owners", tuple(self.owners))
        if len(self.vectors) != len(self.owners):
            raise ShapeError(f"{len(self.vectors)} vectors but {len(self.owners)} owners; one a vector")


def evaluate_pairs(queries: Side, targets: Side, *, ks: Sequence[int] = (1, 5, 10)) -> Evaluation:
    """Let every line of one side look for a line of the same owner among all lines of the other, exactly.

    For each query there is the ``rank`` of the best of its own lines, counting from 1. Ties are taken pessimistically:
    what scores the same as the query's own and belongs to another stands before it, so that vectors which are all alike
    find nothing. From the rank follow ``hit_rate@k``, whether it is at most k, which papers on cross-modal retrieval
    call R@k, also with several captions a picture; and ``mrr``, 1 / rank. The lower the rank the better. The median
    rank is ``catalogue["median_rank"]``; `median_rank` gives its interval.

    Args:
        queries: What asks.
        targets: What is found. Queries whose owner is not there are left out and counted as ``skipped``.
        ks: The depths of the hit rates.

    Raises:
        InputError: When no query has an owner among the targets, or a depth is below 1.
        ShapeError: When the two have vectors of different lengths.
        SeparateSpacesError: When the two are in different spaces of their own.

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
    if wrong := [k for k in ks if k < 1]:
        raise InputError(f"nothing is found in the best {wrong[0]}; give depths of at least 1, such as 1, 5 and 10")
    number_of = {owner: number for number, owner in enumerate(dict.fromkeys(targets.owners))}
    judged = [line for line, owner in enumerate(queries.owners) if owner in number_of]
    if not judged:
        raise InputError("no query has an owner among the targets; are both sides named alike?")
    wanted = np.array([number_of[queries.owners[line]] for line in judged])
    owners = np.array([number_of[owner] for owner in targets.owners])
    ranks, first = _ranks(queries.vectors[judged], targets.vectors, wanted, owners)
    hits = {f"hit_rate@{k}": (ranks <= k).astype(np.float64) for k in ks}
    return Evaluation(
        query_ids=tuple(_named([queries.owners[line] for line in judged])),
        per_query=hits | {"mrr": 1 / ranks, "rank": ranks},
        coverage={"coverage@1": coverage(first[:, None], len(targets.owners), 1)},
        skipped=len(queries.owners) - len(judged),
        catalogue={"median_rank": float(np.median(ranks))},
    )


def cross_modal(sides: Mapping[str, Side], *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, Evaluation]:
    """Let every side but ``"item"`` look for each other side: ``"text→image"``, ``"image→item"``, ….

    Items contain the very texts and pictures that look for them: these two say how much of each survived in the item.
    Sides in different spaces of their own cannot look for each other and are left out.

    Args:
        sides: By modality, and ``"item"`` for the vectors that are searched.
        ks: The depths of the hit rates.
    """
    return {
        f"{asking}→{found}": evaluate_pairs(sides[asking], sides[found], ks=ks)
        for asking in sides
        for found in sides
        if asking not in (found, "item") and comparable(sides[asking], sides[found])
    }


def comparable(one: Side, other: Side) -> bool:
    """Whether cosines between two sides mean anything."""
    return not (one.space and other.space) or one.space == other.space


def median_rank(evaluation: Evaluation, *, level: float = 0.95, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Give the median of an evaluation's ranks, and its bootstrap interval."""
    ranks = evaluation.per_query["rank"]
    rng = np.random.default_rng(seed)
    medians = [float(np.median(ranks[rng.integers(len(ranks), size=len(ranks))])) for _ in range(resamples)]
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return Estimate("median_rank", float(np.median(ranks)), float(low), float(high))


def _ranks(
    queries: Vectors, targets: Vectors, wanted: NDArray[np.int64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the rank of each query's best own target, and the first target of each."""
    ranks: NDArray[np.float64] = np.empty(len(queries))
    first = np.empty(len(queries), np.int64)
    block = max(1, _AT_ONCE // max(1, len(targets)))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        scores = queries[part] @ targets.T
        own = owners[None, :] == wanted[part, None]
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[part] = 1 + ((scores >= best - np.float32(TIE)) & ~own).sum(axis=1)
        first[part] = scores.argmax(axis=1)
    return ranks, first


def _named(owners: Sequence[str]) -> list[str]:
    """Name queries by their owners; the second and later of one owner with a number, so that all differ."""
    seen: dict[str, int] = {}
    names = []
    for owner in owners:
        seen[owner] = seen.get(owner, 0) + 1
        names.append(owner if seen[owner] == 1 else f"{owner} #{seen[owner]}")
    return names


def sides_of(retriever: Retriever) -> dict[str, Side]:
    """Give the sides that a bundle keeps: each text, picture and sound by itself, and the items that are searched.

    Nothing is encoded. Where an item has several pictures, each looks, and is looked for, by itself.
    """
    bundle = retriever.bundle
    sides = {}
    for modality, parts in bundle.parts.items():
        kept = bundle.alive[parts.rows]
        if kept.any():
            owners = tuple(bundle.items[row] for row in parts.rows[kept].tolist())
            space = str(modality) if bundle.manifest.encoder.separate else ""
            sides[str(modality)] = Side(parts.vectors[kept].astype(np.float32), owners, space)
    there = np.flatnonzero(bundle.alive & retriever.vectors.any(axis=1))
    sides["item"] = Side(retriever.vectors[there], tuple(bundle.items[row] for row in there.tolist()))
    return sides


def encoded_sides(catalogue: Catalogue, encoder: Encoder, *, size: int = 64) -> dict[str, Side]:
    """Encode the texts and pictures of a catalogue: to judge an encoder before anything is built.

    Pictures that cannot be read are left out.

    Args:
        catalogue: The items.
        encoder: Of texts and pictures in one space.
        size: Items encoded at a time.

    Raises:
        InputError: When there is no text, or no picture that can be read.
    """
    vectors: dict[Modality, list[Vectors]] = {Modality.TEXT: [], Modality.IMAGE: []}
    owners: dict[Modality, list[str]] = {Modality.TEXT: [], Modality.IMAGE: []}
    for items in catalogue.batches(size):
        texts = [(item.item_id, item.text) for item in items if item.text]
        pictures = [one for item in items for one in _pictures(item, encoder)]
        owners[Modality.TEXT] += [item_id for item_id, _ in texts]
        owners[Modality.IMAGE] += [item_id for item_id, _ in pictures]
        vectors[Modality.TEXT].append(encoder.encode_texts([text for _, text in texts]))
        vectors[Modality.IMAGE].append(encoder.encode_images([picture for _, picture in pictures]))
    if lacking := [str(modality) for modality, names in owners.items() if not names]:
        raise InputError(f"no item has a usable {' or '.join(lacking)}, so that there are no pairs")
    return {str(m): Side(np.concatenate(vectors[m]), tuple(owners[m])) for m in vectors}


def _pictures(item: Item, encoder: Encoder) -> Iterator[tuple[str, Image.Image]]:
    """Decode those pictures of an item that can be."""
    task = task_for(encoder)
    for medium in item.media:
        if medium.kind is Kind.IMAGE and medium.source is not None:
            with suppress(UnusablePicture):
                (outcome,) = decode_all(Kind.IMAGE, [read_picture(medium.source, task.pictures)], task)
                if isinstance(outcome, Decoded):
                    yield item.item_id, Image.fromarray(outcome.arrays[0])
