"""Learn sources of candidates from a past, and from nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, lengths_of
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.interactions.item_counts import interaction_counts
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import ALL_ALIKE
from retrieval.ranking.sources import (
    Neighbours,
    Popular,
    Recent,
    Source,
    TrainingLog,
    UserBatch,
    space_sources,
    strongest,
    tops,
)
from retrieval.training.behaviour.behaviour import levels_of
from retrieval.training.behaviour.ease import Doubles, ease
from retrieval.training.ranker_config import SourcesConfig
from retrieval.training.serving_trials import held


def learn_sources(
    pasts: Sequence[History], space: ItemSpace, config: SourcesConfig | None = None
) -> tuple[Source, ...]:
    """Learn all sources.

    EASE comes three times: by how much was liked, lately more; by what was liked more than usual; by how ratings differ
    from the usual one, which tells what is liked from what is merely watched.

    Args:
        pasts: What users did up to a cut.
        space: Content and behaviour, learned from the same past.
        config: How.
    """
    config = config or SourcesConfig()
    count = len(space.indexed)
    book, (_, worth) = TrainingLog.of(pasts, count), worth_of(pasts)
    liked = (worth >= 1).astype(np.float32)
    lately = learn_ease("ease", pasts, worth, config.half_life, config, book)
    if np.array_equal(liked, worth):  # as where weights are all alike: the same matrix
        of_liked = replace(lately, name="ease_liked", half_life=ALL_ALIKE)
    else:
        of_liked = learn_ease("ease_liked", pasts, liked, ALL_ALIKE, config, book)
    return (
        *space_sources(space, book),
        lately,
        of_liked,
        learn_ease("ease_ratings", pasts, worth - 1, ALL_ALIKE, config, book),
        *([learn_next(pasts, count, config, book)] if config.window else []),
        Popular("popular", np.log1p(interaction_counts(pasts, count)).astype(np.float32), book),
        *([learn_recent(pasts, count, config.recent_days, book)] if config.recent_days else []),
    )


def learn_ease(
    name: str, pasts: Sequence[History], worth: Vectors, half_life: float, config: SourcesConfig, book: TrainingLog
) -> Neighbours:
    """Keep the strongest weights of EASE.

    Args:
        name: Of the source.
        pasts: What users did.
        worth: (V,) what an interaction counts at each of the levels of weight.
        half_life: In a history, when it is served.
        config: How.
        book: Of these pasts.
    """
    count = book.items
    counts, levels = interaction_counts(pasts, count), levels_of(pasts)
    warm = np.flatnonzero(counts)
    kept = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.max_ease_items]])
    known = np.zeros(count, np.bool_)
    known[kept] = True
    if worth.any():
        told = [np.interp(past.weights, levels, worth).astype(np.float32) for past in pasts]
        weights = ease(pasts, told, kept, count, config.regularisation)
        rows, values = strongest(weights, kept, count, config.num_neighbours)
    else:  # nobody says anything
        rows = np.full((count, config.num_neighbours), -1, np.int32)
        values = np.zeros(rows.shape, np.float32)
    return Neighbours(name, rows, values, known, half_life, levels, worth, book)


def learn_next(
    pasts: Sequence[History], count: int, config: SourcesConfig, book: TrainingLog | None = None
) -> Neighbours:
    """Count what comes soon after an item, nearer ones more, against how common both are."""
    levels, worth = worth_of(pasts)
    keys: NDArray[np.int64] = np.empty(0, np.int64)
    sums: Doubles = np.empty(0)
    for apart in range(1, config.window + 1):
        pairs = [past.rows[:-apart] * count + past.rows[apart:] for past in pasts if len(past) > apart]
        told = [np.interp(past.weights[apart:], levels, worth) / apart for past in pasts if len(past) > apart]
        keys, places = np.unique(np.concatenate([keys, *pairs]), return_inverse=True)
        sums = np.bincount(places, np.concatenate([sums, *told]), minlength=len(keys)).astype(np.float64)
    counts = interaction_counts(pasts, count) + config.shrinkage
    first, after = keys // count, keys % count
    strength = sums / counts[first] / np.sqrt(counts[after])
    rows, values = _most(first, after, strength, count, config.num_neighbours)
    return Neighbours("next", rows, values, counts > config.shrinkage, 2.0, levels, np.ones_like(levels), book)


def learn_recent(pasts: Sequence[History], count: int, days: float, book: TrainingLog | None = None) -> Recent:
    """Keep what was done in the order of time."""
    times = np.concatenate([np.empty(0, np.int64), *(past.timestamps for past in pasts)])
    rows = np.concatenate([np.empty(0, np.int64), *(past.rows for past in pasts)])
    order = np.argsort(times, kind="stable")
    return Recent("recent", times[order], rows[order], count, days, book)


def worth_of(pasts: Sequence[History]) -> tuple[Vectors, Vectors]:
    """Give the levels of weight and what each counts: in proportion, 1 on the average."""
    levels = levels_of(pasts)
    mean = float(np.mean(np.concatenate([past.weights for past in pasts])))
    return levels, (levels / mean if mean else np.ones_like(levels)).astype(np.float32)


def _most(first: Rows, after: Rows, strength: Doubles, count: int, most: int) -> tuple[NDArray[np.int32], Vectors]:
    """Keep the strongest of each first: rows (N, K) int32, -1 pads, and values (N, K) float32."""
    order = np.lexsort((-strength, first))
    first, after, strength = first[order], after[order], strength[order]
    starts = np.searchsorted(first, np.arange(count))
    places = np.arange(len(first)) - starts[first]
    rows, values = np.full((count, most), -1, np.int32), np.zeros((count, most), np.float32)
    near = places < most
    rows[first[near], places[near]] = after[near]
    values[first[near], places[near]] = strength[near]
    return rows, values


DEPTH = 20
GROWTH, FLOOR = 2.0, 0.1


def check_books(sources: Sequence[Source], wanted: Sequence[History]) -> None:
    """Check that no source was learned from anything that it is to find.

    Raises:
        TrainingError: Naming the source, for one that was, or that does not say what it was learned from.
    """
    checked = list[TrainingLog]()
    for source in sources:
        if source.book is None:
            raise TrainingError(f"source {source.name!r} does not say what it was learned from; give it a TrainingLog")
        if any(source.book is book for book in checked):
            continue
        checked.append(source.book)
        if seen := source.book.holds(wanted):
            raise TrainingError(
                f"source {source.name!r} has seen {len(seen)} of the interactions that it is to find, as "
                f"{seen[0]} (user, row): learn it from what came before"
            )


def recalls_of(
    sources: Sequence[Source], pasts: Sequence[History], wanted: Sequence[History], items: int
) -> NDArray[np.float64]:
    """Give for each source the mean share of what each user did next that is among its first 20 of so many items."""
    asked = UserBatch.after(pasts)
    found = np.empty((len(sources), len(pasts)))
    for part, rows in tops(sources, asked, asked.histories, DEPTH, items):
        later = [history.rows for history in wanted[part]]
        found[:, part] = (held(rows, later, items).sum(axis=1) / np.maximum(lengths_of(later), 1)[:, None]).T
    recalls: NDArray[np.float64] = found.mean(axis=1)
    return recalls


def check_recalls(
    sources: Sequence[Source],
    earlier: tuple[Sequence[History], Sequence[History]],
    later: tuple[Sequence[History], Sequence[History]],
    items: int,
) -> None:
    """Check every source, whatever its book says.

    Args:
        sources: Learned from what came before both.
        earlier: Pasts, and what came next where the head learns, line by line.
        later: The same where the head is judged.
        items: How many there are.

    Raises:
        TrainingError: Naming the source that does too well where the head learns.
    """
    recalls = (recalls_of(sources, *part, items) for part in (earlier, later))
    for source, before, after in zip(sources, *recalls, strict=True):
        check_recall(source.name, float(before), float(after))


def check_recall(name: str, earlier: float, later: float) -> None:
    """Check that a source does not find what came next in training far better than it does later.

    Args:
        name: Of the source.
        earlier: Its recall where the head learns.
        later: Its recall where the head is judged.

    Raises:
        TrainingError: When it does.
    """
    if earlier > GROWTH * later + FLOOR:
        raise TrainingError(
            f"source {name!r} finds {earlier:.2f} of what came next where the head learns and {later:.2f} where it is "
            "judged: it seems to have seen what it is to find; learn it from what came before"
        )
