"""The best and the worst queries on a page: their ranked and relevant items as cards, and reasons."""

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexing.arrays import Mask, Vectors
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import examples as named
from indexing.media.files import Kind, Modality
from indexing.media.images import ImageLimits
from indexing.store.shared_pool import thumbnail
from retrieval.candidates import Candidates, Hit
from retrieval.evaluation.evaluate import Evaluation
from retrieval.evaluation.report.page import escaped, section, to_html
from retrieval.retriever.retriever import Retriever

THUMBNAIL_SIZE = 120  # pixels of a thumbnail
BATCH_SIZE = 64  # items, whose images are read with them


@dataclass(frozen=True)
class Card:
    """Id, title and thumbnail (JPEG) of an item."""

    item_id: str
    title: str
    picture: bytes | None = None

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.item_id

    def figure(self, remark: str = "", *, relevant: bool = False) -> str:
        """Return the item as HTML, with a frame if it is relevant."""
        image = "<span class='blank'></span>"
        if self.picture:
            base64 = b64encode(self.picture).decode()
            image = f"<img src='data:image/jpeg;base64,{base64}' alt='{escaped(self.name)}'>"
        relevant_html = "<em>relevant</em>" if relevant else ""
        remark_html = f"<span>{to_html(remark)}</span>" if remark else ""
        css_class = " class='relevant'" if relevant else ""
        title = escaped(f"{self.item_id}: {self.title}")
        caption = f"<figcaption>{to_html(self.name)}{relevant_html}{remark_html}</figcaption>"
        return f"<figure{css_class} title='{title}'>{image}{caption}</figure>"


def cards_of(
    item_ids: Collection[str],
    titles: Mapping[str, str],
    catalogue: Catalogue | None = None,
    limits: ImageLimits | None = None,
) -> dict[str, Card]:
    """Return a card for each item, with its first image in the catalogue."""
    pictures: dict[str, bytes | None] = {}
    remaining, limits = set(item_ids), limits or ImageLimits()
    for batch in catalogue.batches(BATCH_SIZE) if catalogue is not None and remaining else ():
        for item in batch:
            if item.item_id in remaining:
                remaining.remove(item.item_id)
                images = (medium.source for medium in item.media if medium.kind is Kind.IMAGE and medium.source)
                source = next(images, None)
                pictures[item.item_id] = thumbnail(source, limits, THUMBNAIL_SIZE) if source is not None else None
        if not remaining:
            break
    return {item_id: Card(item_id, titles.get(item_id, ""), pictures.get(item_id)) for item_id in item_ids}


TOLERANCE = 1e-4  # relative to the largest score: rounding by the index
MAX_HISTORY, MAX_RELEVANT = 8, 6  # maximum numbers of items on the page


@dataclass(frozen=True)
class Example:
    """One query.

    Attributes:
        query_id: The id of the query; the text of a text query.
        value: The value of the measure.
        history: Item_ids of the end of the history, newest last; empty if the query has none.
        hits: The top of the list.
        relevant: The relevant item_ids.
        reasons: Why the value is what it is, as sentences.
    """

    query_id: str
    value: float
    history: tuple[str, ...]
    hits: tuple[Hit, ...]
    relevant: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """Some queries with the highest and the lowest values of a measure."""

    measure: str
    best: tuple[Example, ...]
    worst: tuple[Example, ...]

    def item_ids(self) -> set[str]:
        """Return the items on the page."""
        return {
            item_id
            for example in (*self.best, *self.worst)
            for item_id in (*example.history, *(hit.item_id for hit in example.hits), *example.relevant[:MAX_RELEVANT])
        }


def examples_of(
    retriever: Retriever,
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    evaluation: Evaluation,
    *,
    measure: str,
    count: int = 5,
    warm: Collection[str] | None = None,
    seed: int = 0,
) -> Examples:
    """Select the best and the worst queries, ties at random, and explain them.

    Args:
        retriever: The retriever of the candidates.
        candidates: The candidates that were evaluated.
        relevant: For each query the item_ids that are relevant.
        evaluation: The evaluation of these candidates.
        measure: One of its measures.
        count: Maximum number of best, and of worst queries.
        warm: The items with interactions in the training data; None if there are none.
        seed: For the order of ties.
    """
    candidates, values = candidates.pointing_into(retriever.items), evaluation.per_query[measure]
    with_relevant = [query for query, ids in enumerate(relevant) if len(ids)]
    random_order = np.random.default_rng(seed).permutation(len(values))
    order = [position for position in np.lexsort((random_order, -values)).tolist() if np.isfinite(values[position])]
    count = min(count, (len(order) + 1) // 2)
    best, worst = order[:count], order[::-1][: min(count, len(order) - count)]
    cutoff = measure.partition("@")[2]
    k = int(cutoff) if cutoff.isdecimal() else candidates.rows.shape[1]
    explainer = _Explainer(retriever, candidates, k, warm)

    def example(position: int) -> Example:
        query = with_relevant[position]
        targets = tuple(dict.fromkeys(relevant[query]))
        history = tuple(candidates.items[row] for row in candidates.histories[query][-MAX_HISTORY:])
        top = tuple(candidates[query][:k])
        reasons = tuple(explainer.reasons(query, targets))
        return Example(candidates.query_ids[query], float(values[position]), history, top, targets, reasons)

    return Examples(measure, tuple(map(example, best)), tuple(map(example, worst)))


class _ExactRanks:
    """Ranks of the items by exact search for one query, without excluded items of the history."""

    def __init__(self, vectors: Vectors, is_live: Mask, candidates: Candidates, query: int) -> None:
        self._scores = vectors @ candidates.queries[query]
        history = candidates.histories[query]
        excludes_history = not np.isin(history, candidates.rows[query]).any()
        self.excluded = set(history.tolist()) if excludes_history else set[int]()
        mask = is_live.copy()
        mask[list(self.excluded)] = False
        self.competitors = self._scores[mask]

    def rank(self, row: int) -> int:
        """Return the rank of an item."""
        return 1 + int(np.sum(self.competitors > self._scores[row]))

    def worst_rank(self, row: int) -> int:
        """Return its rank if rounding errors were to its disadvantage."""
        tolerance = TOLERANCE * float(np.abs(self._scores).max())
        return int(np.sum(self.competitors >= self._scores[row] - tolerance))


class _Explainer:
    """Explains for a query why relevant items were retrieved or missed."""

    def __init__(self, retriever: Retriever, candidates: Candidates, k: int, warm: Collection[str] | None) -> None:
        self.candidates, self.k, self.warm = candidates, k, None if warm is None else set(warm)
        self.vectors, self.is_live = retriever.indexed, retriever.items.is_live
        self.exists = retriever.bundle.modality_vectors.exists

    def reasons(self, query: int, targets: Sequence[str]) -> list[str]:
        hits = self.candidates[query]
        rank_of = {hit.item_id: hit.rank for hit in reversed(hits)}
        sentences = [self._first(hits, [item_id for item_id in targets if item_id in rank_of], len(targets), rank_of)]
        missed = [item_id for item_id in targets if rank_of.get(item_id, self.k + 1) > self.k]
        absent = [item_id for item_id in missed if item_id not in self.candidates.items]
        if absent:
            sentences.append(f"{len(absent)} not in the bundle, so no list can hold them: {named(absent)}")
        in_catalogue = [item_id for item_id in missed if item_id in self.candidates.items]
        below_k = sorted((rank_of[item_id], item_id) for item_id in in_catalogue if item_id in rank_of)
        exact_ranks = _ExactRanks(self.vectors, self.is_live, self.candidates, query)
        if below_k:
            rank, item_id = below_k[0]
            before = exact_ranks.rank(int(self.candidates.items.rows([item_id])[0]))
            stage = "" if self.candidates.stage == "retrieve" else f" ({before} before the {self.candidates.stage})"
            sentences.append(f"{len(below_k)} listed below rank {self.k}, the nearest at rank {rank}{stage}")
        sentences += self._unlisted(
            [item_id for item_id in in_catalogue if item_id not in rank_of], len(hits), exact_ranks
        )
        return sentences + self._traits(in_catalogue)

    def _first(self, hits: Sequence[Hit], retrieved: Sequence[str], count: int, rank_of: dict[str, int]) -> str:
        if not retrieved:
            subject = "the one relevant item is not" if count == 1 else f"none of {count} relevant items is"
            return f"{subject} among the {len(hits)} listed"
        first = hits[min(rank_of[item_id] for item_id in retrieved) - 1]
        top = "the top itself" if first.rank == 1 else f"the top has {hits[0].score:.3f}"
        position = f"at rank {first.rank} with score {first.score:.3f} ({top})"
        if count == 1:
            return f"the one relevant item is listed {position}"
        return f"{len(retrieved)} of {count} relevant items among the {len(hits)} listed; the first {position}"

    def _unlisted(self, item_ids: Sequence[str], listed: int, exact_ranks: "_ExactRanks") -> list[str]:
        """Explain items that are not in the list by their ranks in exact search."""
        rows = self.candidates.items.rows(item_ids)
        seen = [item_id for item_id, row in zip(item_ids, rows.tolist(), strict=True) if row in exact_ranks.excluded]
        sentences = [f"{len(seen)} left out of the list because they were seen: {named(seen)}"] if seen else []
        lost_ranks, far_ranks = list[int](), list[int]()
        for row in rows.tolist():
            if row not in exact_ranks.excluded:
                (lost_ranks if exact_ranks.worst_rank(row) <= listed else far_ranks).append(exact_ranks.rank(row))
        if lost_ranks:
            sentences.append(
                f"{len(lost_ranks)} lost by the index: by exact search the nearest would be at rank {min(lost_ranks)}"
            )
        if far_ranks:
            total = len(exact_ranks.competitors)
            sentences.append(
                f"{len(far_ranks)} too far from the query: by exact search the nearest is at rank {min(far_ranks)} "
                f"of {total}"
            )
        return sentences

    def _traits(self, missed: Sequence[str]) -> list[str]:
        """Explain which contents and interactions missed items lack."""
        rows = self.candidates.items.rows(missed)
        sentences = []
        for modality, content in ((Modality.IMAGE, "picture"), (Modality.TEXT, "text")):
            exists = self.exists.get(modality)
            if exists is not None and exists.any() and (num_missing := int(np.sum(~exists[rows]))):
                sentences.append(f"of those missed, {num_missing} without a {content} that could be encoded")
        if self.warm is not None and (num_cold := sum(item_id not in self.warm for item_id in missed)):
            sentences.append(f"of those missed, {num_cold} cold: nobody touched them in what was learned from")
        return sentences


def examples_section(title: str, measure: str, examples: Sequence[Example], cards: Mapping[str, Card]) -> str:
    """Return a section of queries; empty if there are none."""
    return section(f"{title} by {measure}", *(_example(example, measure, cards) for example in examples))


def _example(example: Example, measure: str, cards: Mapping[str, Card]) -> str:
    relevant = set(example.relevant)
    hits = "".join(
        _card(hit.item_id, cards).figure(f"{hit.rank} · {hit.score:.3f}", relevant=hit.item_id in relevant)
        for hit in example.hits
    )
    reasons = "".join(f"<li>{to_html(reason)}</li>" for reason in example.reasons)
    more = len(example.relevant) - MAX_RELEVANT
    return (
        f"<article><h3>{to_html(example.query_id)} <span>{escaped(measure)} {example.value:.4f}</span></h3>"
        f"<ul>{reasons}</ul>"
        + _row("history", "".join(_card(item_id, cards).figure() for item_id in example.history), small=True)
        + _row("found", hits or "nothing")
        + _row(
            "relevant" + (f" ({more} more)" if more > 0 else ""),
            "".join(_card(item_id, cards).figure() for item_id in example.relevant[:MAX_RELEVANT]),
            small=True,
        )
        + "</article>"
    )


def _card(item_id: str, cards: Mapping[str, Card]) -> Card:
    return cards.get(item_id) or Card(item_id, "")


def _row(name: str, content: str, *, small: bool = False) -> str:
    return f"<div class='row{' small' if small else ''}'><b>{escaped(name)}</b>{content}</div>" if content else ""
