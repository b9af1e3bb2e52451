"""The best and the worst queries on a page: items as cards, what was found and relevant, and reasons."""

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexing.arrays import Mask, Vectors
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import examples as named
from indexing.media.files import Kind, Modality
from indexing.media.images import PictureLimits
from indexing.store.shared_pool import thumbnail
from retrieval.candidates import Candidates, Hit
from retrieval.evaluation.evaluate import Evaluation
from retrieval.evaluation.report.page import quoted, section, shown
from retrieval.retriever.retriever import Retriever

SIDE = 120  # pixels of a thumbnail
AT_ONCE = 64  # items, since their pictures are read with them


@dataclass(frozen=True)
class Card:
    """One item to be shown: its id, its title, and a small JPEG of its picture if that can be used."""

    item_id: str
    title: str
    picture: bytes | None = None

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.item_id

    def figure(self, remark: str = "", *, relevant: bool = False) -> str:
        """Give the item as HTML, framed when it is relevant."""
        image = "<span class='blank'></span>"
        if self.picture:
            data = b64encode(self.picture).decode()
            image = f"<img src='data:image/jpeg;base64,{data}' alt='{quoted(self.name)}'>"
        mark = "<em>relevant</em>" if relevant else ""
        said = f"<span>{shown(remark)}</span>" if remark else ""
        kind = " class='relevant'" if relevant else ""
        title = quoted(f"{self.item_id}: {self.title}")
        return f"<figure{kind} title='{title}'>{image}<figcaption>{shown(self.name)}{mark}{said}</figcaption></figure>"


def cards_of(
    wanted: Collection[str],
    titles: Mapping[str, str],
    catalogue: Catalogue | None = None,
    limits: PictureLimits | None = None,
) -> dict[str, Card]:
    """Give a card for each item wanted, with the first picture that it has in the catalogue."""
    pictures: dict[str, bytes | None] = {}
    left, limits = set(wanted), limits or PictureLimits()
    for batch in catalogue.batches(AT_ONCE) if catalogue is not None and left else ():
        for item in batch:
            if item.item_id in left:
                left.remove(item.item_id)
                images = (medium.source for medium in item.media if medium.kind is Kind.IMAGE and medium.source)
                first = next(images, None)
                pictures[item.item_id] = thumbnail(first, limits, SIDE) if first is not None else None
        if not left:
            break
    return {item_id: Card(item_id, titles.get(item_id, ""), pictures.get(item_id)) for item_id in wanted}


NEAR = 1e-4  # of the greatest score: what an index may round
HISTORY, WANTED = 8, 6  # items shown


@dataclass(frozen=True)
class Example:
    """One query.

    Attributes:
        query_id: Its name; of a text query the text itself.
        value: What was measured of it.
        history: Item_ids of the end of the history, newest last; empty when the query is none of a user.
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
        """The items that are to be shown."""
        return {
            item_id
            for example in (*self.best, *self.worst)
            for item_id in (*example.history, *(hit.item_id for hit in example.hits), *example.relevant[:WANTED])
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
    """Choose the best and the worst queries, among equals by chance, and explain them.

    Args:
        retriever: What found the candidates.
        candidates: What was evaluated.
        relevant: For each query the item_ids that should be found.
        evaluation: What was measured of just these.
        measure: One of its measures.
        count: Queries of each end, at most.
        warm: The items that somebody touched in what was learned from; None where that has no meaning.
        seed: Of the choice among equals.
    """
    candidates, values = candidates.pointing_into(retriever.items), evaluation.per_query[measure]
    judged = [query for query, ids in enumerate(relevant) if len(ids)]
    by_chance = np.random.default_rng(seed).permutation(len(values))
    order = [line for line in np.lexsort((by_chance, -values)).tolist() if np.isfinite(values[line])]
    count = min(count, (len(order) + 1) // 2)
    best, worst = order[:count], order[::-1][: min(count, len(order) - count)]
    cutoff = measure.partition("@")[2]
    k = int(cutoff) if cutoff.isdecimal() else candidates.rows.shape[1]
    explainer = _Explainer(retriever, candidates, k, warm)

    def example(line: int) -> Example:
        query = judged[line]
        wanted = tuple(dict.fromkeys(relevant[query]))
        history = tuple(candidates.items[row] for row in candidates.histories[query][-HISTORY:])
        top = tuple(candidates[query][:k])
        reasons = tuple(explainer.reasons(query, wanted))
        return Example(candidates.query_ids[query], float(values[line]), history, top, wanted, reasons)

    return Examples(measure, tuple(map(example, best)), tuple(map(example, worst)))


class _Exact:
    """The ranks that exact search gives the items for one query, without those left out because they were seen."""

    def __init__(self, vectors: Vectors, alive: Mask, candidates: Candidates, query: int) -> None:
        self._scores = vectors @ candidates.queries[query]
        history = candidates.histories[query]
        left_out = not np.isin(history, candidates.rows[query]).any()
        self.seen = set(history.tolist()) if left_out else set[int]()
        rivals = alive.copy()
        rivals[list(self.seen)] = False
        self.rivals = self._scores[rivals]

    def rank(self, row: int) -> int:
        """Give the rank of an item."""
        return 1 + int(np.sum(self.rivals > self._scores[row]))

    def rank_at_worst(self, row: int) -> int:
        """Give its rank if rounding went against it."""
        near = NEAR * float(np.abs(self._scores).max())
        return int(np.sum(self.rivals >= self._scores[row] - near))


class _Explainer:
    """Says for a query what became of its relevant items."""

    def __init__(self, retriever: Retriever, candidates: Candidates, k: int, warm: Collection[str] | None) -> None:
        self.candidates, self.k, self.warm = candidates, k, None if warm is None else set(warm)
        self.vectors, self.alive = retriever.indexed, retriever.items.alive
        self.exists = retriever.bundle.modality_vectors.exists

    def reasons(self, query: int, wanted: Sequence[str]) -> list[str]:
        hits = self.candidates[query]
        rank_of = {hit.item_id: hit.rank for hit in reversed(hits)}
        lines = [self._first(hits, [item_id for item_id in wanted if item_id in rank_of], len(wanted), rank_of)]
        missed = [item_id for item_id in wanted if rank_of.get(item_id, self.k + 1) > self.k]
        absent = [item_id for item_id in missed if item_id not in self.candidates.items]
        if absent:
            lines.append(f"{len(absent)} not in the bundle, so no list can hold them: {named(absent)}")
        here = [item_id for item_id in missed if item_id in self.candidates.items]
        below = sorted((rank_of[item_id], item_id) for item_id in here if item_id in rank_of)
        exact = _Exact(self.vectors, self.alive, self.candidates, query)
        if below:
            rank, item_id = below[0]
            before = exact.rank(int(self.candidates.items.rows([item_id])[0]))
            stage = "" if self.candidates.stage == "retrieve" else f" ({before} before the {self.candidates.stage})"
            lines.append(f"{len(below)} listed below rank {self.k}, the nearest at rank {rank}{stage}")
        lines += self._unlisted([item_id for item_id in here if item_id not in rank_of], len(hits), exact)
        return lines + self._traits(here)

    def _first(self, hits: Sequence[Hit], found: Sequence[str], count: int, rank_of: dict[str, int]) -> str:
        if not found:
            which = "the one relevant item is not" if count == 1 else f"none of {count} relevant items is"
            return f"{which} among the {len(hits)} listed"
        first = hits[min(rank_of[item_id] for item_id in found) - 1]
        top = "the top itself" if first.rank == 1 else f"the top has {hits[0].score:.3f}"
        at = f"at rank {first.rank} with score {first.score:.3f} ({top})"
        if count == 1:
            return f"the one relevant item is listed {at}"
        return f"{len(found)} of {count} relevant items among the {len(hits)} listed; the first {at}"

    def _unlisted(self, item_ids: Sequence[str], listed: int, exact: "_Exact") -> list[str]:
        """Say of items that are not listed at all where exact search puts them."""
        rows = self.candidates.items.rows(item_ids)
        excluded = [item_id for item_id, row in zip(item_ids, rows.tolist(), strict=True) if row in exact.seen]
        lines = [f"{len(excluded)} left out of the list because they were seen: {named(excluded)}"] if excluded else []
        lost, beyond = list[int](), list[int]()
        for row in rows.tolist():
            if row not in exact.seen:
                (lost if exact.rank_at_worst(row) <= listed else beyond).append(exact.rank(row))
        if lost:
            lines.append(f"{len(lost)} lost by the index: by exact search the nearest would be at rank {min(lost)}")
        if beyond:
            total = len(exact.rivals)
            lines.append(
                f"{len(beyond)} too far from the query: by exact search the nearest is at rank {min(beyond)} of {total}"
            )
        return lines

    def _traits(self, missed: Sequence[str]) -> list[str]:
        """Say what the missed items lack."""
        rows = self.candidates.items.rows(missed)
        lines = []
        for modality, what in ((Modality.IMAGE, "picture"), (Modality.TEXT, "text")):
            exists = self.exists.get(modality)
            if exists is not None and exists.any() and (without := int(np.sum(~exists[rows]))):
                lines.append(f"of those missed, {without} without a {what} that could be encoded")
        if self.warm is not None and (cold := sum(item_id not in self.warm for item_id in missed)):
            lines.append(f"of those missed, {cold} cold: nobody touched them in what was learned from")
        return lines


def examples_section(title: str, measure: str, examples: Sequence[Example], cards: Mapping[str, Card]) -> str:
    """Give some queries under a heading; nothing when there are none."""
    return section(f"{title} by {measure}", *(_example(example, measure, cards) for example in examples))


def _example(example: Example, measure: str, cards: Mapping[str, Card]) -> str:
    relevant = set(example.relevant)
    found = "".join(
        _card(hit.item_id, cards).figure(f"{hit.rank} · {hit.score:.3f}", relevant=hit.item_id in relevant)
        for hit in example.hits
    )
    reasons = "".join(f"<li>{shown(reason)}</li>" for reason in example.reasons)
    more = len(example.relevant) - WANTED
    return (
        f"<article><h3>{shown(example.query_id)} <span>{quoted(measure)} {example.value:.4f}</span></h3>"
        f"<ul>{reasons}</ul>"
        + _row("history", "".join(_card(item_id, cards).figure() for item_id in example.history), small=True)
        + _row("found", found or "nothing")
        + _row(
            "relevant" + (f" ({more} more)" if more > 0 else ""),
            "".join(_card(item_id, cards).figure() for item_id in example.relevant[:WANTED]),
            small=True,
        )
        + "</article>"
    )


def _card(item_id: str, cards: Mapping[str, Card]) -> Card:
    return cards.get(item_id) or Card(item_id, "")


def _row(name: str, content: str, *, small: bool = False) -> str:
    return f"<div class='row{' small' if small else ''}'><b>{quoted(name)}</b>{content}</div>" if content else ""
