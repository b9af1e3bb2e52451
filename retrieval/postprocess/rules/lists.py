"""Lists while rules work on them: taken out, raised and lowered, and pinned at last."""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Mask
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.postprocess.rules.ruled_candidates import Ruled

STAGE = "rules"
_FELT = 0.01  # less than this share of a list's span is not noted


class Lists:
    """The lists of B queries, and which of the rules touched each hit.

    Args:
        candidates: Best first.
        names: Of R rules.

    Raises:
        InputError: When the score of a candidate is no number.

    Attributes:
        rows: (B, K) int64, -1 pads at the end.
        scores: (B, K) float64, -inf for padding.
        touched: (B, K, R) bool.
        excluded: (B, R) int64, how many hits a rule took out.
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

    def exclude(self, rule: int, banned: Mask) -> None:
        """Take rows out, (N,) bool; what follows moves up."""
        gone = (self.rows >= 0) & banned[self.rows]
        self.excluded[:, rule] = gone.sum(axis=1)
        self.rows = np.where(gone, -1, self.rows)
        self.scores = np.where(gone, -np.inf, self.scores)
        self._sort(self.rows < 0)

    def lift(self, lifts: Mapping[int, NDArray[np.float64]]) -> None:
        """Raise the scores by shares of what lay between the first and the last of the list: (N,) float64 a rule.

        The order of rules changes nothing: shares are added from the smallest, and equal scores keep their order.
        """
        shares = np.where(self.rows >= 0, np.stack(list(lifts.values()))[:, self.rows], 0.0)
        self.touched[:, :, list(lifts)] = np.moveaxis(shares, 0, -1) >= _FELT
        self.scores = self.scores + np.sort(shares, axis=0).sum(axis=0) * self._unit
        self._sort(-self.scores)

    def bury(self, buried: Mapping[int, Mask]) -> None:
        """Lower the rows of any of some rules, (N,) bool each, below all others."""
        there, below = self.rows >= 0, np.zeros(self.rows.shape, np.bool_)
        for rule, rows in buried.items():
            self.touched[:, :, rule] = there & rows[self.rows]
            below |= self.touched[:, :, rule]
        self.scores = np.where(below, self.scores - self._span() - self._unit, self.scores)
        self._sort(-self.scores)

    def pin(self, places: Mapping[int, tuple[int, int]]) -> None:
        """Put rows at places from 0: place → (row, rule). Lists keep their length, or have that of the pins."""
        if not places:
            return
        rows = np.array([row for row, _ in places.values()], np.int64)
        length = self.rows.shape[1]
        columns = np.array(list(places), np.int64)
        others = np.setdiff1d(np.arange(length + len(rows)), columns)
        moved = np.isin(self.rows, rows)
        kept = np.where(moved, -1, self.rows), np.where(moved, -np.inf, self.scores)
        order = np.argsort(moved, axis=1, kind="stable")
        wide = (len(self.rows), length + len(rows))
        before = self.touched
        self.rows, self.scores = np.full(wide, -1, np.int64), np.full(wide, -np.inf)
        self.touched = np.zeros((*wide, len(self.names)), np.bool_)
        self.rows[:, others] = np.take_along_axis(kept[0], order, axis=1)
        self.scores[:, others] = np.take_along_axis(kept[1], order, axis=1)
        self.touched[:, others] = np.take_along_axis(before, order[:, :, None], axis=1)
        self.rows[:, columns] = rows
        self.touched[:, columns, [rule for _, rule in places.values()]] = True
        self._sort(self.rows < 0)
        self._score_pins()
        cut = slice(max(length, len(rows)))
        self.rows, self.scores, self.touched = self.rows[:, cut], self.scores[:, cut], self.touched[:, cut]

    def ruled(self, candidates: Candidates) -> Ruled:
        """Give what became of the candidates."""
        notes: list[dict[int, tuple[str, ...]]] = [{} for _ in self.rows]
        touched = self.touched & (self.rows >= 0)[:, :, None]
        for line, place, rule in np.argwhere(touched).tolist():
            row = int(self.rows[line, place])
            notes[line][row] = (*notes[line].get(row, ()), self.names[rule])
        gone = [{self.names[rule]: int(count[rule]) for rule in np.flatnonzero(count)} for count in self.excluded]
        same = {one.name: getattr(candidates, one.name) for one in fields(Candidates)}
        with np.errstate(over="ignore"):
            scores = self.scores.astype(np.float32)
        if not np.isfinite(scores[self.rows >= 0]).all():
            raise InputError("rules raise some scores beyond what a float32 holds; lower `by`, or score these anew")
        changed = {"rows": self.rows, "scores": scores, "stage": STAGE}
        return Ruled(**(same | changed), notes=tuple(notes), excluded=tuple(gone))

    def _span(self) -> NDArray[np.float64]:
        """Give how far the best and the worst score of each list are apart, 0 for an empty one: (B, 1) float64."""
        there = self.rows >= 0
        low = np.where(there, self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        high = np.where(there, self.scores, low).max(axis=1, initial=-np.inf, keepdims=True)
        return np.where(np.isfinite(low), high, 0.0) - np.where(np.isfinite(low), low, 0.0)

    def _sort(self, keys: NDArray[np.generic]) -> None:
        """Order every line by rising keys (B, K); equal ones keep their order."""
        order = np.argsort(keys, axis=1, kind="stable")
        self.rows = np.take_along_axis(self.rows, order, axis=1)
        self.scores = np.take_along_axis(self.scores, order, axis=1)
        self.touched = np.take_along_axis(self.touched, order[:, :, None], axis=1)

    def _score_pins(self) -> None:
        """Give what has no score that of the hit behind it; at the end the last there is, or 0."""
        behind = np.maximum.accumulate(self.scores[:, ::-1], axis=1)[:, ::-1]
        last = np.where(np.isfinite(self.scores), self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        filled = np.where(np.isfinite(behind), behind, np.where(np.isfinite(last), last, 0.0))
        self.scores = np.where(self.rows >= 0, filled, -np.inf)
