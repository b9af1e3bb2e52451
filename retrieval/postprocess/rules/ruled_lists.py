"""The lists that business rules change, with the rules that changed each hit."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.errors import InputError
from retrieval.candidates import Candidates, sources_of
from retrieval.postprocess.rules.ruled_candidates import Ruled

STAGE = "rules"
_MIN_NOTED = 0.01  # boosts of a smaller fraction of a list's span are not noted


class RankedLists:
    """The lists of B queries, and the rules that changed each hit.

    Args:
        candidates: Best first.
        names: Names of R rules.

    Raises:
        InputError: When the score of a candidate is no number.

    Attributes:
        rows: (B, K) int64, -1 pads at the end.
        scores: (B, K) float64, -inf for padding.
        touched: (B, K, R) bool, the rules that changed each hit.
        excluded: (B, R) int64, the number of hits that each rule removed.
    """

    def __init__(self, candidates: Candidates, names: list[str]) -> None:
        if not np.isfinite(candidates.scores[candidates.rows >= 0]).all():
            raise InputError("some scores are NaN or infinite, so that rules cannot raise them; score these anew")
        self.rows, self.names = candidates.rows, names
        self.scores = np.where(self.rows >= 0, candidates.scores, -np.inf).astype(np.float64)
        self.touched = np.zeros((*self.rows.shape, len(names)), np.bool_)
        self.excluded = np.zeros((len(self.rows), len(names)), np.int64)
        span = self._span()
        self._unit = np.where(span > 0, span, 1.0)

    def exclude(self, rule: int, mask: Mask) -> None:
        """Remove the rows of a mask, (N,) bool; later hits move up."""
        self._remove(rule, (self.rows >= 0) & mask[self.rows])

    def cap(self, rule: int, shown: Sequence[Rows]) -> None:
        """Remove from each list rows of its own; later hits move up."""
        self._remove(rule, self._listed(shown))

    def _remove(self, rule: int, is_excluded: Mask) -> None:
        self.excluded[:, rule] += is_excluded.sum(axis=1)
        self.rows = np.where(is_excluded, -1, self.rows)
        self.scores = np.where(is_excluded, -np.inf, self.scores)
        self._sort(self.rows < 0)

    def lift(self, boosts: Mapping[int, NDArray[np.float64]]) -> None:
        """Raise the scores by fractions of the span of the list: (N,) float64 for each rule.

        The order of rules does not matter: fractions are added in ascending order, and ties keep their order.
        """
        fractions = np.where(self.rows >= 0, np.stack(list(boosts.values()))[:, self.rows], 0.0)
        self.touched[:, :, list(boosts)] = np.moveaxis(fractions, 0, -1) >= _MIN_NOTED
        self.scores = self.scores + np.sort(fractions, axis=0).sum(axis=0) * self._unit
        self._sort(-self.scores)

    def bury(self, buried: Mapping[int, Mask], shown: Mapping[int, Sequence[Rows]]) -> None:
        """Lower rows below all others: those of masks, (N,) bool for each rule, and of each list rows of its own."""
        is_hit = self.rows >= 0
        for rule, rows in buried.items():
            self.touched[:, :, rule] = is_hit & rows[self.rows]
        for rule, rows_of in shown.items():
            self.touched[:, :, rule] = self._listed(rows_of)
        is_buried = self.touched[:, :, [*buried, *shown]].any(axis=2)
        self.scores = np.where(is_buried, self.scores - self._span() - self._unit, self.scores)
        self._sort(-self.scores)

    def pin(self, pins: Mapping[int, tuple[int, int]], capped: Mapping[int, Sequence[Rows]]) -> None:
        """Place rows: position from 0 → (row, rule). Lists keep their length, or have that of the pins.

        What a cap removes from a list is not pinned in it either.
        """
        if not pins:
            return
        rows = np.array([row for row, _ in pins.values()], np.int64)
        num_columns = self.rows.shape[1]
        columns = np.array(list(pins), np.int64)
        free_columns = np.setdiff1d(np.arange(num_columns + len(rows)), columns)
        is_pinned = np.isin(self.rows, rows)
        unpinned = np.where(is_pinned, -1, self.rows), np.where(is_pinned, -np.inf, self.scores)
        order = np.argsort(is_pinned, axis=1, kind="stable")
        wide_shape = (len(self.rows), num_columns + len(rows))
        touched = self.touched
        self.rows, self.scores = np.full(wide_shape, -1, np.int64), np.full(wide_shape, -np.inf)
        self.touched = np.zeros((*wide_shape, len(self.names)), np.bool_)
        self.rows[:, free_columns] = np.take_along_axis(unpinned[0], order, axis=1)
        self.scores[:, free_columns] = np.take_along_axis(unpinned[1], order, axis=1)
        self.touched[:, free_columns] = np.take_along_axis(touched, order[:, :, None], axis=1)
        self.rows[:, columns] = rows
        self.touched[:, columns, [rule for _, rule in pins.values()]] = True
        for rule, shown in capped.items():
            self.cap(rule, shown)
        self._sort(self.rows < 0)
        self._score_pins()
        kept_columns = slice(max(num_columns, len(rows)))
        self.rows, self.scores, self.touched = (
            self.rows[:, kept_columns],
            self.scores[:, kept_columns],
            self.touched[:, kept_columns],
        )

    def ruled(self, candidates: Candidates) -> Ruled:
        """Give the candidates with the changed lists."""
        notes: list[dict[int, tuple[str, ...]]] = [{} for _ in self.rows]
        touched = self.touched & (self.rows >= 0)[:, :, None]
        for query, position, rule in np.argwhere(touched).tolist():
            row = int(self.rows[query, position])
            notes[query][row] = (*notes[query].get(row, ()), self.names[rule])
        excluded = [
            {self.names[rule]: int(counts[rule]) for rule in np.flatnonzero(counts)} for counts in self.excluded
        ]
        unchanged = {field.name: getattr(candidates, field.name) for field in fields(Candidates)}
        with np.errstate(over="ignore"):
            scores = self.scores.astype(np.float32)
        if not np.isfinite(scores[self.rows >= 0]).all():
            raise InputError("rules raise some scores beyond what a float32 holds; lower `by`, or score these anew")
        sources = sources_of(self.rows, candidates.rows, candidates.sources, default="rule")  # only pins are new
        changed = {"rows": self.rows, "scores": scores, "stage": STAGE, "sources": sources}
        return Ruled(**(unchanged | changed), notes=tuple(notes), excluded=tuple(excluded))

    def _listed(self, shown: Sequence[Rows]) -> Mask:
        """Mark the hits that are among rows of their own list: (B, K) bool."""
        marked = [np.isin(hits, rows) for hits, rows in zip(self.rows, shown, strict=True)]
        return np.array(marked, np.bool_).reshape(self.rows.shape)

    def _span(self) -> NDArray[np.float64]:
        """Give the difference of the best and the worst score of each list, 0 for an empty one: (B, 1) float64."""
        is_hit = self.rows >= 0
        low = np.where(is_hit, self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        high = np.where(is_hit, self.scores, low).max(axis=1, initial=-np.inf, keepdims=True)
        return np.where(np.isfinite(low), high, 0.0) - np.where(np.isfinite(low), low, 0.0)

    def _sort(self, keys: NDArray[np.generic]) -> None:
        """Sort each list by ascending keys (B, K); ties keep their order."""
        order = np.argsort(keys, axis=1, kind="stable")
        self.rows = np.take_along_axis(self.rows, order, axis=1)
        self.scores = np.take_along_axis(self.scores, order, axis=1)
        self.touched = np.take_along_axis(self.touched, order[:, :, None], axis=1)

    def _score_pins(self) -> None:
        """Give hits without a score that of the next hit; at the end the lowest one, or 0."""
        next_scores = np.maximum.accumulate(self.scores[:, ::-1], axis=1)[:, ::-1]
        lowest = np.where(np.isfinite(self.scores), self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        filled = np.where(np.isfinite(next_scores), next_scores, np.where(np.isfinite(lowest), lowest, 0.0))
        self.scores = np.where(self.rows >= 0, filled, -np.inf)
