"""Learn sources of candidates from a past, and from nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from retrieval.interactions.histories import History
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import ALL_ALIKE
from retrieval.ranking.sources import Neighbours, Popular, Recent, Source, TrainingLog, space_sources, strongest
from retrieval.training.behaviour.behaviour import levels_of, touched
from retrieval.training.behaviour.ease import Doubles, ease
from retrieval.training.ranker_config import SourcesConfig


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
        *([learn_next(pasts, count, config, book)] if config.ahead else []),
        Popular("popular", np.log1p(touched(pasts, count)).astype(np.float32), book),
        *([learn_recent(pasts, count, config.days, book)] if config.days else []),
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
    counts, levels = touched(pasts, count), levels_of(pasts)
    warm = np.flatnonzero(counts)
    kept = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.most_items]])
    known = np.zeros(count, np.bool_)
    known[kept] = True
    if worth.any():
        told = [np.interp(past.weights, levels, worth).astype(np.float32) for past in pasts]
        weights = ease(pasts, told, kept, count, config.regularisation)
        rows, values = strongest(weights, kept, count, config.neighbours)
    else:  # nobody says anything
        rows = np.full((count, config.neighbours), -1, np.int32)
        values = np.zeros(rows.shape, np.float32)
    return Neighbours(name, rows, values, known, half_life, levels, worth, book)


def learn_next(
    pasts: Sequence[History], count: int, config: SourcesConfig, book: TrainingLog | None = None
) -> Neighbours:
    """Count what comes soon after an item, nearer ones more, against how common both are."""
    levels, worth = worth_of(pasts)
    keys: NDArray[np.int64] = np.empty(0, np.int64)
    sums: Doubles = np.empty(0)
    for apart in range(1, config.ahead + 1):
        pairs = [past.rows[:-apart] * count + past.rows[apart:] for past in pasts if len(past) > apart]
        told = [np.interp(past.weights[apart:], levels, worth) / apart for past in pasts if len(past) > apart]
        keys, places = np.unique(np.concatenate([keys, *pairs]), return_inverse=True)
        sums = np.bincount(places, np.concatenate([sums, *told]), minlength=len(keys)).astype(np.float64)
    counts = touched(pasts, count) + config.doubt
    first, after = keys // count, keys % count
    strength = sums / counts[first] / np.sqrt(counts[after])
    rows, values = _most(first, after, strength, count, config.neighbours)
    return Neighbours("next", rows, values, counts > config.doubt, 2.0, levels, np.ones_like(levels), book)


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
