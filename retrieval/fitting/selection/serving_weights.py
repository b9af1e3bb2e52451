"""Selects how much each part of a user's query counts, by validation alone: nothing is trained."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from retrieval.models.behaviour import Behaviour, QueryWeights
from retrieval.models.user_model import ALL_ALIKE
from retrieval.training.one_standard_error import Values, first_as_good

GRID: Mapping[str, tuple[float, ...]] = {
    "half_life": (20.0, 5.0, 10.0, 50.0, ALL_ALIKE),
    "share": (1.0, 0.0, 0.3, 0.6, 1.5, 2.5),
    "popular": (0.0, 0.1, 0.2, 0.4, 0.8, 1.6),
    "content": (0.0, 0.1, 0.2, 0.4, 0.8, 1.6),
}
# Tried only for a block with attention; the serving weights of a block without it do not have the name.
ATTENTION: Mapping[str, tuple[float, ...]] = {"attention": (1.0, 0.0, 0.3, 0.6, 1.5, 2.5, 4.0, 6.0)}
SHRINKAGES = (2.0, 0.0, 1.0, 4.0)  # a history of this many items counts half; with 0 any history counts whole
Serving = dict[str, float]
RETURNING = "returning_"  # prefix of the weights for users who come back


def apply_serving(block: Behaviour, serving: Mapping[str, float]) -> Behaviour:
    """Set the serving weights of a block.

    Args:
        block: As `train_behaviour` gives it.
        serving: The `QueryWeights`, by name; the item vectors of ``content`` have length 1, as behaviour's have on
            average; the weights for returning users, with the prefix ``returning_``, where they differ; ``attention``,
            of a block that has it; ``few``, the history shrinkage, where it was selected.
    """
    block = block.with_weights(QueryWeights(*(serving[name] for name in QueryWeights._fields)))
    if f"{RETURNING}{QueryWeights._fields[0]}" in serving:
        returning = QueryWeights(*(serving[f"{RETURNING}{name}"] for name in QueryWeights._fields))
        block = replace(block, returning=returning)
    if "few" in serving:
        block = replace(block, history_shrinkage=serving["few"])
    if block.attention is None or "attention" not in serving:
        return block
    return replace(block, attention=replace(block.attention, share=serving["attention"]))


def select_serving(
    block: Behaviour, evaluate: Callable[[Behaviour], Values], *, in_order: bool = True
) -> tuple[Behaviour, Serving, float]:
    """Select the serving weights of a block; see `select_weights`.

    Args:
        block: Trained on earlier interactions.
        evaluate: Gives the quality for each user with some weights: higher is better.
        in_order: Whether histories are in the order of time.

    Returns:
        The block with the weights that were selected, the weights, and their mean quality.
    """
    attends = block.attention is not None
    serving, value = select_weights(
        lambda weights: evaluate(apply_serving(block, weights)), attention=attends, in_order=in_order
    )
    return apply_serving(block, serving), serving, value


def select_history_shrinkage(block: Behaviour, evaluate: Callable[[Behaviour], Values]) -> tuple[Behaviour, float]:
    """Select the pseudo-count by which a short history is shrunk, by the quality for short histories.

    Args:
        block: With its serving weights.
        evaluate: Gives the quality for each user after a short history: higher is better.
    """
    shrinkage = SHRINKAGES[first_as_good([evaluate(replace(block, history_shrinkage=value)) for value in SHRINKAGES])]
    return replace(block, history_shrinkage=shrinkage), shrinkage


def select_weights(
    evaluate: Callable[[Serving], Values], *, attention: bool = False, in_order: bool = True
) -> tuple[Serving, float]:
    """Select one weight after the other, twice over, by validation on a later part of the log.

    Of the values as good as the best, the first in the grid is taken; see `first_as_good`.

    Args:
        evaluate: Gives the quality for each user with some weights: higher is better.
        attention: Whether the block has attention.
        in_order: Whether histories are in the order of time; else all items of a history count equally.

    Returns:
        The weights, and their mean quality.
    """
    grid = {**GRID, **ATTENTION} if attention else dict(GRID)
    if not in_order:
        grid["half_life"] = (ALL_ALIKE,)
    serving: Serving = {name: values[0] for name, values in grid.items()}
    cache: dict[Any, Values] = {}

    def cached(weights: Serving) -> Values:
        key = tuple(weights.values())
        if key not in cache:
            cache[key] = evaluate(weights)
        return cache[key]

    for name in (*grid, *grid):
        trials = [serving | {name: value} for value in grid[name]]
        serving = trials[first_as_good([cached(trial) for trial in trials])]
    return serving, float(cached(serving).mean())
