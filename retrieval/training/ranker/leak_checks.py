"""Sources that have seen what they are to find: told by their books, and by doing too well."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.ragged import lengths_of
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.ranking.sources import Source, TrainingLog, UserBatch, tops
from retrieval.training.serving_trials import held

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
