"""Train the behaviour block: a closed-form tower, a trained one, popularity, and predictions for new items."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import interaction_counts, item_counts, recency_weights
from retrieval.models.behaviour import DEFAULT_HISTORY_SHRINKAGE, DEFAULT_WEIGHTS, Behaviour, QueryTower
from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.new_items import BLOCK, ColdStartModel
from retrieval.training.behaviour.attention import train_attention
from retrieval.training.behaviour.ease import Doubles, Whitening, low_rank_ease
from retrieval.training.behaviour.new_items import Target, fit_cold_start
from retrieval.training.behaviour.next_items import TowerTraining, train_next_items
from retrieval.training.behaviour.warm_start import TowerStart
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.loop import TrainingCurve

_MAX_BINS = 8


class _TrainedTower(NamedTuple):
    """A tower with item vectors (N, r), context vectors (N, S r), and (N,) bool, the items that it was trained on."""

    tower: QueryTower
    items: Vectors
    context: Vectors
    known: Mask

    def take(self, rows: slice) -> "_TrainedTower":
        return self._replace(items=self.items[rows], context=self.context[rows], known=self.known[rows])


class _TowerTraining(NamedTuple):
    """Arguments of the training of the trained tower; see `train_behaviour`."""

    progress: Callable[[int, TowerTraining], None] | None
    work: Path | None
    start: TowerStart | None
    ended: Callable[[TrainingCurve], None] | None

    def tower(
        self,
        histories: Sequence[History],
        weight_bins: Vectors,
        bin_weights: Vectors,
        warm: Rows,
        features: Vectors,
        config: NextItemsConfig,
    ) -> TowerTraining:
        training = histories if self.start is None else self.start.histories
        state = train_next_items(
            training, weight_bins, bin_weights, warm, features, config, self.progress, self.work, self.start
        )
        if self.ended is not None:
            self.ended(state.curve)
        return state


def train_behaviour(
    histories: Sequence[History],
    features: FeatureMatrix,
    config: BehaviourConfig | None = None,
    progress: Callable[[int, TowerTraining], None] | None = None,
    *,
    work: Path | None = None,
    start: TowerStart | None = None,
    ended: Callable[[TrainingCurve], None] | None = None,
) -> Behaviour:
    """Train a behaviour block on histories.

    Item vectors are scaled to a root mean square length of 1, as those of content, so that an index weighs both alike;
    the order of items does not depend on it.

    Args:
        histories: The histories up to the cutoff.
        features: The features of all N items of the catalogue.
        config: The settings.
        progress: Called after each epoch of the trained tower.
        work: Folder for checkpoints of the trained tower and of attention, from which a killed training continues, with
            the same result; None keeps none.
        start: The tower that training continues from, with its histories; random weights and all histories when None.
        ended: Called with the losses of the trained tower.

    Raises:
        TrainingError: When fewer than two items have interactions.
    """
    config = config or BehaviourConfig()
    counts = interaction_counts(histories, len(features))
    warm = np.flatnonzero(counts)
    if len(warm) < 2:
        raise TrainingError(f"users touched {len(warm)} known items; at least two are needed")
    weight_bins = weight_bins_of(histories)
    mean = float(np.mean(np.concatenate([history.weights for history in histories])))
    bin_weights = weight_bins / mean if mean else np.ones_like(weight_bins)
    training = _TowerTraining(progress, work, start, ended)
    parts = _train_towers(histories, weight_bins, bin_weights.astype(np.float32), features.trained, config, training)
    popular = _popularity_column(histories, warm, len(features), config)
    trust = np.log1p(counts)
    targets = [
        *(Target(part.items, trust * part.known) for part in parts),
        Target(popular, trust),
        *(Target(part.context, trust * part.known) for part in parts),
    ]
    predictor = fit_cold_start(features, targets, config.ridge)
    confidence = counts / (counts + config.shrinkage)
    items, context = _blended(parts, popular, confidence, features, predictor)
    scale = 1 / max(float(np.sqrt(np.mean(np.sum(items**2, axis=1, dtype=np.float64)))), 1e-9)
    items *= np.float32(scale)
    predictor = _scaled(predictor, scale, items.shape[1])
    block = Behaviour(
        items,
        context,
        confidence.astype(np.float32),
        weight_bins,
        tuple(part.tower for part in parts),
        predictor,
        DEFAULT_WEIGHTS.popular,
        scale * DEFAULT_WEIGHTS.content,
        DEFAULT_HISTORY_SHRINKAGE,
    )
    if config.attention is None:
        return block
    # It reads the context vectors of these towers, so that it cannot continue from an earlier state.
    state = train_attention(block, histories, bin_weights, warm, config.attention, work=work)
    return replace(block, attention=state.attention())


def _popularity_column(histories: Sequence[History], warm: Rows, count: int, config: BehaviourConfig) -> Doubles:
    """Give popularity as a column, standardised over the items with interactions: (N, 1) float64."""
    logs = popularity(
        histories,
        count,
        decay_days=config.decay_days,
        early=config.EARLY_INTERACTIONS,
        disliked=config.DISLIKED_WEIGHT,
    )
    column: Doubles = ((logs - logs[warm].mean()) / max(logs[warm].std(), 1e-9))[:, None]
    return column


def _blended(
    parts: Sequence[_TrainedTower],
    popular: Doubles,
    confidence: Doubles,
    features: FeatureMatrix,
    predictor: ColdStartModel,
) -> tuple[Vectors, Vectors]:
    """Blend the trained and the predicted values of items by confidence: (N, R) and (N, C) float32."""
    width = sum(part.items.shape[1] for part in parts) + 1
    items = np.empty((len(features), width), np.float32)
    context = np.empty((len(features), len(predictor.offset) - width), np.float32)
    for start in range(0, len(features), BLOCK):
        batch = slice(start, start + BLOCK)
        batch_parts = [part.take(batch) for part in parts]
        learned = np.concatenate(
            [*(part.items for part in batch_parts), popular[batch], *(part.context for part in batch_parts)], axis=1
        )
        predicted = predictor.predict(features.take(batch))
        blended = _column_confidence(batch_parts, confidence[batch]) * (learned - predicted) + predicted
        items[batch], context[batch] = blended[:, :width], blended[:, width:]
    return items, context


def _column_confidence(parts: Sequence[_TrainedTower], confidence: Doubles) -> Doubles:
    """Give the confidence of each value of an item: of item vectors, of popularity, and of context vectors."""
    by_tower = [confidence * part.known for part in parts]
    columns = [
        np.repeat(known[:, None], part.items.shape[1], axis=1) for known, part in zip(by_tower, parts, strict=True)
    ]
    context_columns = [
        np.repeat(known[:, None], part.context.shape[1], axis=1) for known, part in zip(by_tower, parts, strict=True)
    ]
    return np.concatenate([*columns, confidence[:, None], *context_columns], axis=1)


def _scaled(predictor: ColdStartModel, scale: float, columns: int) -> ColdStartModel:
    """Scale the first ``columns`` columns of the predictions."""
    factors = np.ones(len(predictor.offset), np.float32)
    factors[:columns] = scale
    return replace(
        predictor,
        weights=predictor.weights * factors,
        offset=predictor.offset * factors,
        by_word=None if predictor.by_word is None else predictor.by_word * factors,
    )


def _train_towers(
    histories: Sequence[History],
    weight_bins: Vectors,
    bin_weights: Vectors,
    features: Vectors,
    config: BehaviourConfig,
    learned: _TowerTraining,
) -> list[_TrainedTower]:
    counts = interaction_counts(histories, len(features))
    warm = np.flatnonzero(counts)
    ease_rows = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.max_ease_items]])
    values = [np.interp(history.weights, weight_bins, bin_weights).astype(np.float32) for history in histories]
    ease_context, ease_items = low_rank_ease(
        histories, values, ease_rows, len(counts), config.ease_dims, config.regularisation
    )
    white = Whitening.of(ease_items)
    items_white, context = (np.zeros((len(counts), config.ease_dims), np.float32) for _ in range(2))
    items_white[ease_rows], context[ease_rows] = white.apply(ease_items), ease_context @ white.back
    ease_tower = QueryTower(np.array([np.inf], np.float32), bin_weights[None], np.zeros(config.ease_dims, np.float32))
    is_known = np.isin(np.arange(len(counts)), ease_rows)
    parts = [_TrainedTower(ease_tower, items_white, context, is_known)]
    if config.next_items is not None:
        state = learned.tower(histories, weight_bins, bin_weights, warm, features, config.next_items)
        tower, items_white, context = state.tower(warm)
        parts.append(_TrainedTower(replace(tower, share=DEFAULT_WEIGHTS.share), items_white, context, counts > 0))
    return parts


def popularity(
    histories: Sequence[History], count: int, *, decay_days: float, early: float, disliked: float
) -> Doubles:
    """Give the popularity of N items among new users, as the log of one plus weighted interactions: (N,) float64.

    An interaction counts less the more interactions of its user precede it, the older it is, and where its weight is
    below the mean; see `BehaviourConfig`.
    """
    rows = np.concatenate([history.rows for history in histories])
    times = np.concatenate([history.timestamps for history in histories])
    weights = np.concatenate([history.weights for history in histories])
    num_before = np.concatenate([np.arange(len(history)) for history in histories])
    counts = recency_weights(times, decay_days) * 0.5 ** (num_before / early)
    counts *= np.where(weights < weights.mean(dtype=np.float64), disliked, 1.0)
    return np.log1p(item_counts(rows, count, counts))


def weight_bins_of(histories: Sequence[History]) -> Vectors:
    """Give the distinct weights, or eight of their quantiles where there are more: (V,) float32, ascending."""
    weights = np.concatenate([history.weights for history in histories])
    bins = np.unique(weights)
    if len(bins) > _MAX_BINS:
        bins = np.unique(np.quantile(weights, np.linspace(0, 1, _MAX_BINS)))
    return bins.astype(np.float32)
