"""Learn the behaviour block: a tower in closed form, a learned one, popularity, and predictions for new items."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from indexing.errors import TrainingError
from indexing.types import Rows, Vectors
from retrieval.behaviour import Behaviour, Predictor, Tower
from retrieval.prepare import History
from retrieval.training.closed_form import Doubles, Whitening, low_rank_ease, ridge
from retrieval.training.config import BehaviourConfig
from retrieval.training.next_items import NextItems, learn_next_items

_DAY = 86_400
_MOST_LEVELS = 8


def learn_behaviour(
    pasts: Sequence[History],
    described: Vectors,
    config: BehaviourConfig | None = None,
    progress: Callable[[int, NextItems], None] | None = None,
) -> Behaviour:
    """Learn from what users did.

    Args:
        pasts: The histories up to the cut.
        described: (N, F) float32, content and attributes of all items of the catalogue, centred: zero is "not known".
        config: How.
        progress: Called after each epoch of the learned tower.

    Raises:
        TrainingError: When there is nothing to learn from.
    """
    config = config or BehaviourConfig()
    counts = touched(pasts, len(described))
    warm = np.flatnonzero(counts)
    if len(warm) < 2:
        raise TrainingError(f"users touched {len(warm)} known items; there is nothing to learn what goes with what")
    levels = levels_of(pasts)
    worth = levels / np.mean(np.concatenate([past.weights for past in pasts]))
    found = _towers(pasts, levels, worth.astype(np.float32), described, config, progress)
    popular = popularity(pasts, len(described), config.decay_days)
    popular = ((popular - popular[warm].mean()) / max(popular[warm].std(), 1e-9))[:, None]
    own = np.concatenate([*(items for _, items, _ in found), popular], axis=1)
    predictor = together([*(one for _, _, one in found), ridge(described, popular, np.log1p(counts), config.ridge)])
    confidence = counts / (counts + config.doubt)
    blended = confidence[:, None] * own + (1 - confidence[:, None]) * predictor.predict(described)
    return Behaviour(
        blended.astype(np.float32),
        confidence.astype(np.float32),
        levels,
        tuple(tower for tower, _, _ in found),
        predictor,
        config.popular,
        config.content,
    )


def _towers(
    pasts: Sequence[History],
    levels: Vectors,
    worth: Vectors,
    described: Vectors,
    config: BehaviourConfig,
    progress: Callable[[int, NextItems], None] | None,
) -> list[tuple[Tower, Doubles, Predictor]]:
    counts = touched(pasts, len(described))
    warm = np.flatnonzero(counts)
    kept = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.most_items]])
    values = [np.interp(past.weights, levels, worth).astype(np.float32) for past in pasts]
    said, items = low_rank_ease(pasts, values, kept, len(counts), config.closed, config.regularisation)
    white = Whitening.of(items[kept])
    side = white.apply(items)
    half_life = np.array([np.inf if config.half_life is None else config.half_life], np.float32)
    start = np.zeros(config.closed, np.float32)
    closed = Tower((said @ white.back)[None].astype(np.float32), half_life, worth[None], start)
    trust = np.where(np.isin(np.arange(len(counts)), kept), np.log1p(counts), 0.0)
    found = [(closed, side, ridge(described, side, trust, config.ridge))]
    if config.next_items is not None:
        state = learn_next_items(pasts, levels, worth, warm, described, config.next_items, progress)
        tower, side, predictor = state.tower(warm)
        found.append((replace(tower, share=config.share), side, predictor))
    return found


def together(predictors: Sequence[Predictor]) -> Predictor:
    """Predict what several predictors do, side by side."""
    weights = np.concatenate([one.weights for one in predictors], axis=1)
    return Predictor(weights, np.concatenate([one.offset for one in predictors]))


def touched(pasts: Sequence[History], count: int) -> Doubles:
    """Count the interactions of each of N items: (N,) float64."""
    rows: Rows = np.concatenate([np.empty(0, np.int64), *(past.rows for past in pasts)])
    return np.bincount(rows, minlength=count).astype(np.float64)


def popularity(pasts: Sequence[History], count: int, decay_days: float) -> Doubles:
    """Log of one and the interactions of each item, counted less the longer before the last of all: (N,) float64."""
    rows = np.concatenate([past.rows for past in pasts])
    times = np.concatenate([past.timestamps for past in pasts])
    decayed = np.exp((times - times.max()) / (_DAY * decay_days))
    return np.log1p(np.bincount(rows, decayed, minlength=count))


def levels_of(pasts: Sequence[History]) -> Vectors:
    """Give the weights that occur, or as many of their quantiles as are kept apart: (V,) float32, rising."""
    weights = np.concatenate([past.weights for past in pasts])
    found = np.unique(weights)
    if len(found) > _MOST_LEVELS:
        found = np.unique(np.quantile(weights, np.linspace(0, 1, _MOST_LEVELS)))
    return found.astype(np.float32)
