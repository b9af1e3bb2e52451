"""Learning from every position of a history at once: where to read, what follows, and what it is told from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from indexing.arrays.types import Rows, Vectors
from retrieval.interactions.histories import History


class Window(NamedTuple):
    """A history, and (L,) int64 rising places of it that are read; what follows each of them should be found."""

    past: History
    places: Rows


def window(past: History, longest: int, dropout: float, rng: np.random.Generator) -> Window:
    """Draw where to read a history of two and more, so many places at most, and leave out a share of them."""
    last = len(past) - 1  # nothing follows it
    start = int(rng.integers(max(1, last - longest + 1)))
    places = np.arange(start, min(last, start + longest))
    kept = rng.random(len(places)) >= dropout
    kept[rng.integers(len(places))] = True
    return Window(past, places[kept])


def candidates(
    windows: Sequence[Window], warm: Rows, drawn: int, ahead: int, rng: np.random.Generator
) -> tuple[Rows, torch.Tensor]:
    """Give the rising rows to tell the next items from, and the log of how often each is expected among them.

    All that somebody touched; or, where they are too many, some of them drawn at random. A target that was not drawn
    is a candidate for its own places alone: for the others it is never expected.
    """
    if len(warm) <= drawn:
        return warm, torch.zeros(len(warm))
    sample = rng.choice(warm, drawn, replace=False)
    nexts = [past.rows[places[0] + 1 : places[-1] + 1 + ahead] for past, places in windows]
    rows = np.union1d(sample, np.concatenate(nexts))
    expected = np.where(np.isin(rows, sample), np.log(drawn / len(warm)), np.inf)
    return rows, torch.from_numpy(expected.astype(np.float32))


def wanted(
    windows: Sequence[Window], worth: Sequence[Vectors], rows: Rows, ahead: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give what each of T places should find, and what it knows, among C rows: (T, C) float32 and (T, C) bool.

    Args:
        windows: Their places follow each other.
        worth: For each window what each item of its history counts as a target.
        rows: (C,), rising.
        ahead: So many items after a place should be found.
    """
    shape = sum(len(one.places) for one in windows), len(rows)
    found, known = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    begin = 0
    for (past, places), counts in zip(windows, worth, strict=True):
        column = np.minimum(np.searchsorted(rows, past.rows), len(rows) - 1)
        there = rows[column] == past.rows
        later = np.arange(len(past)) - places[:, None]
        line, item = np.nonzero((later > 0) & (later <= ahead) & there)
        found[begin + line, column[item]] = counts[item]
        line, item = np.nonzero((later <= 0) & there)
        known[begin + line, column[item]] = True
        begin += len(places)
    return torch.from_numpy(found), torch.from_numpy(known)
