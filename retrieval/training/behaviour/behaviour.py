"""Learn the behaviour block: a tower in closed form, a learned one, popularity, and predictions for new items."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import TrainingError
from retrieval.features.item_features import FeatureMatrix
from retrieval.interactions.histories import History
from retrieval.interactions.item_counts import interaction_counts, item_counts, recency_weights
from retrieval.models.behaviour import DEFAULT_HISTORY_SHRINKAGE, DEFAULT_WEIGHTS, Behaviour, Tower
from retrieval.models.new_items import BLOCK, ColdStartModel
from retrieval.training.behaviour.attention import learn_attention
from retrieval.training.behaviour.ease import Doubles, Whitening, low_rank_ease
from retrieval.training.behaviour.new_items import Target, learn_predictor
from retrieval.training.behaviour.next_items import NextItems, learn_next_items
from retrieval.training.behaviour.warm_start import TowerStart
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.loop import TrainingCurve

_MOST_LEVELS = 8


class _Side(NamedTuple):
    """A tower with its (N, r) items, what they say (N, S r), and (N,) bool which it knows."""

    tower: Tower
    items: Vectors
    said: Vectors
    known: Mask

    def take(self, rows: slice) -> "_Side":
        return self._replace(items=self.items[rows], said=self.said[rows], known=self.known[rows])


class _Learned(NamedTuple):
    """How the learned tower learns, beside its settings; see `learn_behaviour`."""

    progress: Callable[[int, NextItems], None] | None
    work: Path | None
    start: TowerStart | None
    ended: Callable[[TrainingCurve], None] | None

    def tower(
        self,
        pasts: Sequence[History],
        levels: Vectors,
        worth: Vectors,
        warm: Rows,
        described: Vectors,
        config: NextItemsConfig,
    ) -> NextItems:
        some = pasts if self.start is None else self.start.pasts
        state = learn_next_items(some, levels, worth, warm, described, config, self.progress, self.work, self.start)
        if self.ended is not None:
            self.ended(state.curve)
        return state


def learn_behaviour(
    pasts: Sequence[History],
    described: FeatureMatrix,
    config: BehaviourConfig | None = None,
    progress: Callable[[int, NextItems], None] | None = None,
    *,
    work: Path | None = None,
    start: TowerStart | None = None,
    ended: Callable[[TrainingCurve], None] | None = None,
) -> Behaviour:
    """Learn from what users did.

    Items are scaled to a root mean square length of 1, as content has it, so that an index gives both their due; no
    order of items depends on it.

    Args:
        pasts: The histories up to the cut.
        described: All N items of the catalogue.
        config: How.
        progress: Called after each epoch of the learned tower.
        work: Folder in which the learned tower and attention go on after a kill, with the same result; nothing is kept
            when None.
        start: What the learned tower goes on from, and with which histories; from random numbers, with all, when None.
        ended: Called with the losses of the learned tower.

    Raises:
        TrainingError: When there is nothing to learn from.
    """
    config = config or BehaviourConfig()
    counts = interaction_counts(pasts, len(described))
    warm = np.flatnonzero(counts)
    if len(warm) < 2:
        raise TrainingError(f"users touched {len(warm)} known items; there is nothing to learn what goes with what")
    levels = levels_of(pasts)
    mean = float(np.mean(np.concatenate([past.weights for past in pasts])))
    worth = levels / mean if mean else np.ones_like(levels)
    how = _Learned(progress, work, start, ended)
    sides = _sides(pasts, levels, worth.astype(np.float32), described.shown, config, how)
    popular = _popular(pasts, warm, len(described), config)
    trust = np.log1p(counts)
    targets = [
        *(Target(side.items, trust * side.known) for side in sides),
        Target(popular, trust),
        *(Target(side.said, trust * side.known) for side in sides),
    ]
    predictor = learn_predictor(described, targets, config.ridge)
    confidence = counts / (counts + config.shrinkage)
    blended = _blended(sides, popular, confidence, described, predictor)
    items, said = np.split(blended, [sum(side.items.shape[1] for side in sides) + 1], axis=1)
    scale = 1 / max(float(np.sqrt(np.mean(np.sum(items**2, axis=1, dtype=np.float64)))), 1e-9)
    predictor = _scaled(predictor, scale, items.shape[1])
    block = Behaviour(
        np.float32(scale) * items,
        said.copy(),
        confidence.astype(np.float32),
        levels,
        tuple(side.tower for side in sides),
        predictor,
        DEFAULT_WEIGHTS.popular,
        scale * DEFAULT_WEIGHTS.content,
        DEFAULT_HISTORY_SHRINKAGE,
    )
    if config.attention is None:
        return block
    # It reads what items say in these towers, so that of an earlier state it has nothing to go on from.
    state = learn_attention(block, pasts, worth, warm, config.attention, work=work)
    return replace(block, attention=state.attention())


def _popular(pasts: Sequence[History], warm: Rows, count: int, config: BehaviourConfig) -> Doubles:
    """Give popularity as a column, standardised among the items that somebody touched: (N, 1)."""
    found = popularity(
        pasts,
        count,
        decay_days=config.decay_days,
        early=config.EARLY_INTERACTIONS,
        disliked=config.DISLIKED_WEIGHT,
    )
    column: Doubles = ((found - found[warm].mean()) / max(found[warm].std(), 1e-9))[:, None]
    return column


def _blended(
    sides: Sequence[_Side], popular: Doubles, confidence: Doubles, described: FeatureMatrix, predictor: ColdStartModel
) -> Vectors:
    """Give each number of an item as far as it is its own, and the rest as predicted: (N, R + C) float32."""
    blended = np.empty((len(described), len(predictor.offset)), np.float32)
    for start in range(0, len(described), BLOCK):
        some = slice(start, start + BLOCK)
        here = [side.take(some) for side in sides]
        own = np.concatenate([*(side.items for side in here), popular[some], *(side.said for side in here)], axis=1)
        predicted = predictor.predict(described.take(some))
        blended[some] = _known(here, confidence[some]) * (own - predicted) + predicted
    return blended


def _known(sides: Sequence[_Side], confidence: Doubles) -> Doubles:
    """Give how much of each number of an item is its own: those of sides, of popularity, and what is said."""
    of_side = [confidence * side.known for side in sides]
    columns = [np.repeat(one[:, None], side.items.shape[1], axis=1) for one, side in zip(of_side, sides, strict=True)]
    told = [np.repeat(one[:, None], side.said.shape[1], axis=1) for one, side in zip(of_side, sides, strict=True)]
    return np.concatenate([*columns, confidence[:, None], *told], axis=1)


def _scaled(predictor: ColdStartModel, scale: float, columns: int) -> ColdStartModel:
    """Scale the first so many columns of what is predicted."""
    factors = np.ones(len(predictor.offset), np.float32)
    factors[:columns] = scale
    return replace(
        predictor,
        weights=predictor.weights * factors,
        offset=predictor.offset * factors,
        by_word=None if predictor.by_word is None else predictor.by_word * factors,
    )


def _sides(
    pasts: Sequence[History],
    levels: Vectors,
    worth: Vectors,
    described: Vectors,
    config: BehaviourConfig,
    learned: _Learned,
) -> list[_Side]:
    counts = interaction_counts(pasts, len(described))
    warm = np.flatnonzero(counts)
    kept = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.max_ease_items]])
    values = [np.interp(past.weights, levels, worth).astype(np.float32) for past in pasts]
    told, items = low_rank_ease(pasts, values, kept, len(counts), config.ease_dims, config.regularisation)
    white = Whitening.of(items[kept])
    side, said = white.apply(items).astype(np.float32), (told @ white.back).astype(np.float32)
    closed = Tower(np.array([np.inf], np.float32), worth[None], np.zeros(config.ease_dims, np.float32))
    known = np.isin(np.arange(len(counts)), kept)
    found = [_Side(closed, side, said, known)]
    if config.next_items is not None:
        state = learned.tower(pasts, levels, worth, warm, described, config.next_items)
        tower, side, said = state.tower(warm)
        found.append(_Side(replace(tower, share=DEFAULT_WEIGHTS.share), side, said, counts > 0))
    return found


def popularity(pasts: Sequence[History], count: int, *, decay_days: float, early: float, disliked: float) -> Doubles:
    """Log of one and the interactions of each of N items, told to those of whom nothing is known: (N,) float64.

    They begin where others began: an interaction counts less the more its user had done before it, the longer it was
    before the last of all, and where it weighs less than is usual. What is what, `BehaviourConfig` says.
    """
    rows = np.concatenate([past.rows for past in pasts])
    times = np.concatenate([past.timestamps for past in pasts])
    weights = np.concatenate([past.weights for past in pasts])
    before = np.concatenate([np.arange(len(past)) for past in pasts])
    counts = recency_weights(times, decay_days) * 0.5 ** (before / early)
    counts *= np.where(weights < weights.mean(dtype=np.float64), disliked, 1.0)
    return np.log1p(item_counts(rows, count, counts))


def levels_of(pasts: Sequence[History]) -> Vectors:
    """Give the weights that occur, or as many of their quantiles as are kept apart: (V,) float32, rising."""
    weights = np.concatenate([past.weights for past in pasts])
    found = np.unique(weights)
    if len(found) > _MOST_LEVELS:
        found = np.unique(np.quantile(weights, np.linspace(0, 1, _MOST_LEVELS)))
    return found.astype(np.float32)
