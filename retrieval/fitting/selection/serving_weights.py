"""Choosing how much each part of a user's query counts: no training, only serving."""

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
# Asked only of a block that has it, and of how it was served before there was any it does not speak.
ATTENTION: Mapping[str, tuple[float, ...]] = {"attention": (1.0, 0.0, 0.3, 0.6, 1.5, 2.5, 4.0, 6.0)}
FEW = (2.0, 0.0, 1.0, 4.0)  # items that a history must have to count half; with 0 any counts whole
Serving = dict[str, float]
RETURNING = "returning_"  # how the names of what users ask with who come back begin


def served(block: Behaviour, serving: Mapping[str, float]) -> Behaviour:
    """Set how a block is served.

    Args:
        block: As `learn_behaviour` gives it.
        serving: The `QueryWeights`, by name; the item vectors of ``content`` have length 1 as behaviour's have on the
            average; those for users who come back, with ``returning_`` before their names, where they have any;
            ``attention``, of a block that has it; ``few``, where it was chosen.
    """
    block = block.weighing(QueryWeights(*(serving[name] for name in QueryWeights._fields)))
    if f"{RETURNING}{QueryWeights._fields[0]}" in serving:
        returning = QueryWeights(*(serving[f"{RETURNING}{name}"] for name in QueryWeights._fields))
        block = replace(block, returning=returning)
    if "few" in serving:
        block = replace(block, few=serving["few"])
    if block.attention is None or "attention" not in serving:
        return block
    return replace(block, attention=replace(block.attention, share=serving["attention"]))


def choose_serving(
    block: Behaviour, judge: Callable[[Behaviour], Values], *, in_order: bool = True
) -> tuple[Behaviour, Serving, float]:
    """Choose how a block is served; see `choose`.

    Args:
        block: Learned from what came before.
        judge: What each user is worth as it is served: higher is better.
        in_order: Whether the order of histories says anything.

    Returns:
        The block as it is to be served, how, and how good that is.
    """
    attends = block.attention is not None
    serving, value = choose(lambda one: judge(served(block, one)), attention=attends, in_order=in_order)
    return served(block, serving), serving, value


def choose_few(block: Behaviour, judge: Callable[[Behaviour], Values]) -> tuple[Behaviour, float]:
    """Choose how long a history must be to count half, by what is best after short ones; long ones hardly care.

    Args:
        block: As it is served.
        judge: What each user is worth after a short history: higher is better.
    """
    few = FEW[first_as_good([judge(replace(block, few=tried)) for tried in FEW])]
    return replace(block, few=few), few


def choose(
    judge: Callable[[Serving], Values], *, attention: bool = False, in_order: bool = True
) -> tuple[Serving, float]:
    """Choose one value after the other, twice around, by what is as good as the best on a later part of the log.

    Of what is as good the first of the grid is taken; see `first_as_good`.

    Args:
        judge: What each user is worth when served so: higher is better.
        attention: Whether there is attention.
        in_order: Whether the order of histories says anything; else all items of one count alike.

    Returns:
        How to serve, and how good that is.
    """
    grid = {**GRID, **ATTENTION} if attention else dict(GRID)
    if not in_order:
        grid["half_life"] = (ALL_ALIKE,)
    serving: Serving = {name: values[0] for name, values in grid.items()}
    known: dict[Any, Values] = {}

    def values(one: Serving) -> Values:
        key = tuple(one.values())
        if key not in known:
            known[key] = judge(one)
        return known[key]

    for name in (*grid, *grid):
        tried = [serving | {name: value} for value in grid[name]]
        serving = tried[first_as_good([values(one) for one in tried])]
    return serving, float(values(serving).mean())
