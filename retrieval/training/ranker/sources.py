"""Learn sources of candidates from a past, and from nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, lengths_of
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import interaction_counts
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import ALL_ALIKE
from retrieval.ranking.sources import (
    Neighbours,
    Popular,
    Recent,
    Source,
    TrainingLog,
    UserBatch,
    neighbour_lines,
    space_sources,
    top_neighbours,
    top_rows_by_source,
)
from retrieval.training.behaviour.behaviour import weight_bins_of
from retrieval.training.behaviour.ease import Doubles, ease
from retrieval.training.ranker_config import SourcesConfig
from retrieval.training.serving_trials import held


def learn_sources(
    histories: Sequence[History], space: ItemSpace, config: SourcesConfig | None = None
) -> tuple[Source, ...]:
    """Learn all sources.

    EASE comes three times: by how much was liked, lately more; by what was liked more than usual; by how ratings differ
    from the usual one, which tells what is liked from what is merely watched.

    Args:
        histories: What users did up to a cut.
        space: Content and behaviour, learned from the same past.
        config: How.
    """
    config = config or SourcesConfig()
    count = len(space.indexed)
    training_log, (_, bin_weights) = TrainingLog.of(histories, count), weighted_bins(histories)
    liked = (bin_weights >= 1).astype(np.float32)
    lately = learn_ease("ease", histories, bin_weights, config.half_life, config, training_log)
    if np.array_equal(liked, bin_weights):  # as where weights are all alike: the same matrix
        of_liked = replace(lately, name="ease_liked", half_life=ALL_ALIKE)
    else:
        of_liked = learn_ease("ease_liked", histories, liked, ALL_ALIKE, config, training_log)
    return (
        *space_sources(space, training_log),
        lately,
        of_liked,
        learn_ease("ease_ratings", histories, bin_weights - 1, ALL_ALIKE, config, training_log),
        *([learn_next(histories, count, config, training_log)] if config.window else []),
        Popular("popular", np.log1p(interaction_counts(histories, count)).astype(np.float32), training_log),
        *([learn_recent(histories, count, config.recent_days, training_log)] if config.recent_days else []),
    )


def learn_ease(
    name: str,
    histories: Sequence[History],
    bin_weights: Vectors,
    half_life: float,
    config: SourcesConfig,
    training_log: TrainingLog,
) -> Neighbours:
    """Keep the strongest weights of EASE.

    Args:
        name: Of the source.
        histories: What users did.
        bin_weights: (V,) what an interaction counts at each of the levels of weight.
        half_life: In a history, when it is served.
        config: How.
        training_log: Of these pasts.
    """
    count = training_log.items
    counts, weight_bins = interaction_counts(histories, count), weight_bins_of(histories)
    warm = np.flatnonzero(counts)
    ease_rows = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.max_ease_items]])
    is_known = np.zeros(count, np.bool_)
    is_known[ease_rows] = True
    if bin_weights.any():
        interaction_weights = [
            np.interp(history.weights, weight_bins, bin_weights).astype(np.float32) for history in histories
        ]
        weights = ease(histories, interaction_weights, ease_rows, count, config.regularisation)
        lines = top_neighbours(weights, ease_rows, count, config.num_neighbours)
    else:  # nobody says anything
        none = (0, config.num_neighbours)
        lines = neighbour_lines(ease_rows[:0], np.empty(none, np.int32), np.empty(none, np.float32), count)
    return Neighbours(name, *lines, is_known, half_life, weight_bins, bin_weights, training_log)


def learn_next(
    histories: Sequence[History], count: int, config: SourcesConfig, training_log: TrainingLog | None = None
) -> Neighbours:
    """Count what comes soon after an item, nearer ones more, against how common both are."""
    weight_bins, bin_weights = weighted_bins(histories)
    keys: NDArray[np.int64] = np.empty(0, np.int64)
    sums: Doubles = np.empty(0)
    for offset in range(1, config.window + 1):
        pairs = [
            history.rows[:-offset] * count + history.rows[offset:] for history in histories if len(history) > offset
        ]
        pair_weights = [
            np.interp(history.weights[offset:], weight_bins, bin_weights) / offset
            for history in histories
            if len(history) > offset
        ]
        keys, index = np.unique(np.concatenate([keys, *pairs]), return_inverse=True)
        sums = np.bincount(index, np.concatenate([sums, *pair_weights]), minlength=len(keys)).astype(np.float64)
    counts = interaction_counts(histories, count) + config.shrinkage
    items, successors = keys // count, keys % count
    strength = sums / counts[items] / np.sqrt(counts[successors])
    lines = _strongest_pairs(items, successors, strength, count, config.num_neighbours)
    return Neighbours(
        "next", *lines, counts > config.shrinkage, 2.0, weight_bins, np.ones_like(weight_bins), training_log
    )


def learn_recent(
    histories: Sequence[History], count: int, days: float, training_log: TrainingLog | None = None
) -> Recent:
    """Keep what was done in the order of time."""
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    rows = np.concatenate([np.empty(0, np.int64), *(history.rows for history in histories)])
    order = np.argsort(times, kind="stable")
    return Recent("recent", times[order], rows[order], count, days, training_log)


def weighted_bins(histories: Sequence[History]) -> tuple[Vectors, Vectors]:
    """Give the levels of weight and what each counts: in proportion, 1 on the average."""
    weight_bins = weight_bins_of(histories)
    mean = float(np.mean(np.concatenate([history.weights for history in histories])))
    return weight_bins, (weight_bins / mean if mean else np.ones_like(weight_bins)).astype(np.float32)


def _strongest_pairs(
    items: Rows, successors: Rows, strength: Doubles, count: int, num_neighbours: int
) -> tuple[Rows, NDArray[np.int32], Vectors]:
    """Keep the strongest of each first: lines (N,), rows (M, K) and values (M, K), as `Neighbours` has them."""
    order = np.lexsort((-strength, items))
    items, successors, strength = items[order], successors[order], strength[order]
    item_rows, starts, line = np.unique(items, return_index=True, return_inverse=True)
    positions = np.arange(len(items)) - starts[line]
    rows = np.full((len(item_rows), num_neighbours), -1, np.int32)
    values = np.zeros(rows.shape, np.float32)
    near = positions < num_neighbours
    rows[line[near], positions[near]] = successors[near]
    values[line[near], positions[near]] = strength[near]
    return neighbour_lines(item_rows, rows, values, count)


DEPTH = 20
GROWTH, FLOOR = 2.0, 0.1


def check_books(sources: Sequence[Source], targets: Sequence[History]) -> None:
    """Check that no source was learned from anything that it is to find.

    Raises:
        TrainingError: Naming the source, for one that was, or that does not say what it was learned from.
    """
    checked = list[TrainingLog]()
    for source in sources:
        if source.book is None:
            raise TrainingError(f"source {source.name!r} does not say what it was learned from; give it a TrainingLog")
        if any(source.book is training_log for training_log in checked):
            continue
        checked.append(source.book)
        if seen := source.book.holds(targets):
            raise TrainingError(
                f"source {source.name!r} has seen {len(seen)} of the interactions that it is to find, as "
                f"{seen[0]} (user, row): learn it from what came before"
            )


def recalls_of(
    sources: Sequence[Source], histories: Sequence[History], targets: Sequence[History], items: int
) -> NDArray[np.float64]:
    """Give for each source the mean share of what each user did next that is among its first 20 of so many items."""
    batch = UserBatch.after(histories)
    shares = np.empty((len(sources), len(histories)))
    for part, rows in top_rows_by_source(sources, batch, batch.histories, DEPTH, items):
        following = [history.rows for history in targets[part]]
        shares[:, part] = (held(rows, following, items).sum(axis=1) / np.maximum(lengths_of(following), 1)[:, None]).T
    recalls: NDArray[np.float64] = shares.mean(axis=1)
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
    for source, earlier_recall, later_recall in zip(sources, *recalls, strict=True):
        check_recall(source.name, float(earlier_recall), float(later_recall))


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
