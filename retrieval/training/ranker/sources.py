"""Train candidate sources on histories, and check that they have not seen the targets."""

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
    neighbour_table,
    space_sources,
    top_neighbours,
    top_rows_by_source,
)
from retrieval.training.behaviour.behaviour import weight_bins_of
from retrieval.training.behaviour.ease import Doubles, ease
from retrieval.training.ranker_config import SourcesConfig
from retrieval.training.serving_trials import target_mask


def fit_sources(
    histories: Sequence[History], space: ItemSpace, config: SourcesConfig | None = None
) -> tuple[Source, ...]:
    """Train all sources.

    There are three of EASE: on interaction weights, recent ones with more weight; on the items with at least the mean
    weight; and on differences from the mean weight, which separate liked items from merely watched ones.

    Args:
        histories: Up to a cutoff.
        space: Trained on the same histories.
        config: The settings.
    """
    config = config or SourcesConfig()
    count = len(space.indexed)
    training_log, (_, bin_weights) = TrainingLog.of(histories, count), weighted_bins(histories)
    liked = (bin_weights >= 1).astype(np.float32)
    recent_ease = fit_ease("ease", histories, bin_weights, config.half_life, config, training_log)
    if np.array_equal(liked, bin_weights):  # all weights are equal: the same matrix
        liked_ease = replace(recent_ease, name="ease_liked", half_life=ALL_ALIKE)
    else:
        liked_ease = fit_ease("ease_liked", histories, liked, ALL_ALIKE, config, training_log)
    return (
        *space_sources(space, training_log),
        recent_ease,
        liked_ease,
        fit_ease("ease_ratings", histories, bin_weights - 1, ALL_ALIKE, config, training_log),
        *([fit_next(histories, count, config, training_log)] if config.window else []),
        Popular("popular", np.log1p(interaction_counts(histories, count)).astype(np.float32), training_log),
        *([fit_recent(histories, count, config.recent_days, training_log)] if config.recent_days else []),
    )


def fit_ease(
    name: str,
    histories: Sequence[History],
    bin_weights: Vectors,
    half_life: float,
    config: SourcesConfig,
    training_log: TrainingLog,
) -> Neighbours:
    """Fit EASE, and keep its largest weights.

    Args:
        name: Of the source.
        histories: The histories.
        bin_weights: (V,), the interaction weight of each weight bin.
        half_life: Of items in a history, in serving.
        config: The settings.
        training_log: Of these histories.
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
        neighbour_arrays = top_neighbours(weights, ease_rows, count, config.num_neighbours)
    else:  # no interaction has a weight
        none = (0, config.num_neighbours)
        neighbour_arrays = neighbour_table(ease_rows[:0], np.empty(none, np.int32), np.empty(none, np.float32), count)
    return Neighbours(name, *neighbour_arrays, is_known, half_life, weight_bins, bin_weights, training_log)


def fit_next(
    histories: Sequence[History], count: int, config: SourcesConfig, training_log: TrainingLog | None = None
) -> Neighbours:
    """Count the items that follow an item, nearer ones with more weight, normalised by the popularity of both."""
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
    neighbour_arrays = _strongest_pairs(items, successors, strength, count, config.num_neighbours)
    return Neighbours(
        "next", *neighbour_arrays, counts > config.shrinkage, 2.0, weight_bins, np.ones_like(weight_bins), training_log
    )


def fit_recent(
    histories: Sequence[History], count: int, days: float, training_log: TrainingLog | None = None
) -> Recent:
    """Sort all interactions by time."""
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    rows = np.concatenate([np.empty(0, np.int64), *(history.rows for history in histories)])
    order = np.argsort(times, kind="stable")
    return Recent("recent", times[order], rows[order], count, days, training_log)


def weighted_bins(histories: Sequence[History]) -> tuple[Vectors, Vectors]:
    """Give the weight bins, and the interaction weight of each: in proportion, 1 on average."""
    weight_bins = weight_bins_of(histories)
    mean = float(np.mean(np.concatenate([history.weights for history in histories])))
    return weight_bins, (weight_bins / mean if mean else np.ones_like(weight_bins)).astype(np.float32)


def _strongest_pairs(
    items: Rows, successors: Rows, strength: Doubles, count: int, num_neighbours: int
) -> tuple[Rows, NDArray[np.int32], Vectors]:
    """Keep the strongest successors of each item: ``table_rows``, ``rows`` and ``values`` of `Neighbours`."""
    order = np.lexsort((-strength, items))
    items, successors, strength = items[order], successors[order], strength[order]
    item_rows, starts, number = np.unique(items, return_index=True, return_inverse=True)
    positions = np.arange(len(items)) - starts[number]
    rows = np.full((len(item_rows), num_neighbours), -1, np.int32)
    values = np.zeros(rows.shape, np.float32)
    near = positions < num_neighbours
    rows[number[near], positions[near]] = successors[near]
    values[number[near], positions[near]] = strength[near]
    return neighbour_table(item_rows, rows, values, count)


DEPTH = 20  # of the lists whose recall is checked
MAX_CHECKED = 300  # users: the standard error of their recall is two or three hundredths
MAX_RATIO, MARGIN = 2.0, 0.1  # of the recall in training to that in validation


def check_training_logs(sources: Sequence[Source], targets: Sequence[History]) -> None:
    """Check that no source was trained on a target.

    Raises:
        TrainingError: With the name of a source that was, or that has no training log.
    """
    checked = list[TrainingLog]()
    for source in sources:
        if source.training_log is None:
            raise TrainingError(f"source {source.name!r} has no training log; give it a TrainingLog")
        if any(source.training_log is training_log for training_log in checked):
            continue
        checked.append(source.training_log)
        if seen := source.training_log.holds(targets):
            raise TrainingError(
                f"source {source.name!r} was trained on {len(seen)} of the targets, such as "
                f"{seen[0]} (user, row): train it on earlier interactions"
            )


def recalls_of(
    sources: Sequence[Source], histories: Sequence[History], targets: Sequence[History], items: int
) -> NDArray[np.float64]:
    """Give the mean recall@20 of each source: (S,) float64."""
    batch = UserBatch.after(histories)
    shares = np.empty((len(sources), len(histories)))
    for part, rows in top_rows_by_source(sources, batch, batch.histories, DEPTH, items):
        following = [history.rows for history in targets[part]]
        shares[:, part] = (
            target_mask(rows, following, items).sum(axis=1) / np.maximum(lengths_of(following), 1)[:, None]
        ).T
    recalls: NDArray[np.float64] = shares.mean(axis=1)
    return recalls


def check_recalls(
    sources: Sequence[Source],
    earlier: tuple[Sequence[History], Sequence[History]],
    later: tuple[Sequence[History], Sequence[History]],
    items: int,
) -> None:
    """Check each source by its recall for some hundreds of users, whatever its training log.

    Args:
        sources: Trained on interactions before both.
        earlier: Histories and targets that train the head.
        later: Histories and targets that validate it.
        items: N.

    Raises:
        TrainingError: With the name of a source whose recall is too high where the head is trained.
    """
    recalls = (recalls_of(sources, *_sample(*part), items) for part in (earlier, later))
    for source, earlier_recall, later_recall in zip(sources, *recalls, strict=True):
        check_recall(source.name, float(earlier_recall), float(later_recall))


def _sample(histories: Sequence[History], targets: Sequence[History]) -> tuple[Sequence[History], Sequence[History]]:
    """Give at most `MAX_CHECKED` users, evenly spaced."""
    step = max(1, -(-len(histories) // MAX_CHECKED))
    return histories[::step], targets[::step]


def check_recall(name: str, earlier: float, later: float) -> None:
    """Check that the recall of a source is not far higher in training than in validation.

    The logs of all sources are checked before; see `check_training_logs`. So this is mostly a log that changes.

    Args:
        name: Of the source.
        earlier: Its recall where the head is trained.
        later: Its recall where the head is validated.

    Raises:
        TrainingError: When it is.
    """
    if earlier > MAX_RATIO * later + MARGIN:
        raise TrainingError(
            f"not trained: source {name!r} finds {earlier:.0%} of what users do next in the part of the log that "
            f"trains the head, and {later:.0%} in the later part that validates it. What users do last is unlike what "
            "they did before, as when they turn to new items; a longer log helps. A source of your own that was "
            "trained on what it should find looks the same"
        )
