"""Whether recommendations are good: beside what is simple, on the same users, and in one sentence."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.evaluation.baselines.families import Asked, Past
from retrieval.evaluation.baselines.tuned import (
    FEWEST,
    Baselines,
    Tuned,
    Way,
    draw,
    tuned_baselines,
    users_in_time,
    without,
)
from retrieval.evaluation.compare import Comparison, Difference, compare
from retrieval.evaluation.evaluate import DEFAULT_MEASURES, Evaluation, evaluate, number
from retrieval.evaluation.metrics import cutoffs
from retrieval.evaluation.statistics import bootstrap_means
from retrieval.interactions.histories import gathered
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import known_items, no_known_item

Values = NDArray[np.float64]

MOST_JUDGED = 5_000  # users, of more some are drawn
MEASURE = "ndcg@10"
DRAWS = 2_000  # of the paired intervals

Verdict = Literal["better", "no clear difference", "worse", "too few users"]


class Beside(NamedTuple):
    """One baseline, and how far what was measured is from it.

    Attributes:
        baseline: Which, with its settings.
        measured: What it is worth.
        apart: How much more the candidates are worth, user by user.
    """

    baseline: Tuned
    measured: Evaluation
    apart: Comparison

    def difference(self, measure: str) -> Difference:
        """Give the difference in one measure."""
        return next(row for row in self.apart.rows if row.measure == measure)


@dataclass(frozen=True, eq=False)
class AgainstBaselines:
    """Candidates beside baselines, on the same users.

    Attributes:
        measure: What decides.
        rows: One a baseline, the best by that measure first.
        users: Who were asked.
        of_users: How many there were to be asked; of very many some are drawn.
        baselines: What could be fitted, and what not.
        relative: The difference and its interval as shares of what the best baseline is worth; None where that is
            nothing.
        new: The same among users without a history, where there are others too.
    """

    measure: str
    rows: tuple[Beside, ...]
    users: int
    of_users: int
    baselines: Baselines
    relative: tuple[float, float, float] | None
    new: "AgainstBaselines | None" = None

    @property
    def best(self) -> Difference:
        """How far the candidates are from the best baseline."""
        return self.rows[0].difference(self.measure)

    @property
    def verdict(self) -> Verdict:
        """Say whether the candidates are better than the best baseline: where the interval is on one side of zero."""
        if self.users < FEWEST:
            return "too few users"
        if self.best.low > 0:
            return "better"
        return "worse" if self.best.high < 0 else "no clear difference"

    def __str__(self) -> str:
        share, best = self.relative, f"the best baseline, {self.rows[0].baseline.name}"
        values = f"{self.measure} {self.best.mean_b:.4f} against {self.best.mean_a:.4f}"
        if self.verdict == "too few users":
            return f"{self.users} users are too few to tell whether this is better than {best} ({values})"
        if share is None:
            return f"{best}, finds nothing for {self.users} users ({values})"
        mean, low, high = (100 * one for one in share)
        if self.verdict == "no clear difference":
            apart = f"{_signed(mean)} % [{_signed(low)}, {_signed(high)}]"
            return f"no clear difference from {best}, on {self.users} users: {apart} ({values})"
        worse = self.verdict == "worse"
        mean, low, high = (-mean, -high, -low) if worse else (mean, low, high)
        between = f"[{_two(low)}, {_two(high)}]"
        return f"{_two(mean)} % {self.verdict} than {best}, on {self.users} users {between} ({values})"

    def notes(self) -> list[str]:
        """What a reader has to know besides: who is missing, and why."""
        told = [f"{row.baseline.name} {row.baseline.note}" for row in self.rows if row.baseline.note]
        told += [f"{name} left out: {why}" for name, why in self.baselines.left_out.items()]
        if not self.baselines.chosen_by:
            told.append("the baselines have their usual settings: there were too few users, or too many interactions")
        if self.users < self.of_users:
            told.append(f"beside baselines are {self.users} of {self.of_users} users, drawn at random, for time")
        return told

    def to_json(self) -> dict[str, Any]:
        """Give everything as an object that ``json.dumps`` takes; null for NaN."""
        share = self.relative
        return {
            "sentence": str(self),
            "verdict": self.verdict,
            "measure": self.measure,
            "best": self.rows[0].baseline.name,
            "relative": None if share is None else dict(zip(("difference", "low", "high"), share, strict=True)),
            "level": self.rows[0].apart.level,
            "users": self.users,
            "of_users": self.of_users,
            "settings_chosen_by": self.baselines.chosen_by,
            "left_out": dict(self.baselines.left_out),
            "new_users": None if self.new is None else self.new.to_json(),
            "rows": [
                row.baseline.to_json()
                | {"means": {measure: number(mean) for measure, mean in row.measured.means.items()}}
                | {"difference": {one.measure: [number(v) for v in one[3:6]] for one in row.apart.rows}}
                for row in self.rows
            ],
        }


def against_baselines(
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    past: Interactions,
    *,
    content: Vectors | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    way: Way = "user",
    share: float = 0.2,
    least: float | None = None,
    seed: int = 0,
) -> AgainstBaselines:
    """Measure baselines beside recommendations, on the same users, each with settings chosen on the last of the past.

    They are popularity, popularity decayed over 1 to 30 days, BM25 item-kNN, EASE, iALS and content; item-kNN and iALS
    need the extra ``baselines``. Each is asked with the histories of the candidates, and shows neither what is in these
    nor what was deleted. On a large log it is done in part, so that it ends soon; `AgainstBaselines.notes` says which.

    Args:
        candidates: What `Retriever.recommend` gave for B users.
        relevant: For each the item_ids that should be found.
        past: What users did before that, as the bundle may have learned from.
        content: (N, D) float32, as ``retriever.vectors``; the baseline of content is left out when None.
        measures: What to measure; ``"ndcg@10"`` decides, or the first where that is not among them.
        way: Whether what should be found is the last of each user's interactions, or what all did after one moment:
            settings are chosen on a part of the past that is cut alike.
        share: How much of the past that is.
        least: What weighs less was disliked: half of the largest weight of ratings when None, and nothing of others.
        seed: Of iALS, and of who is drawn.

    Raises:
        InputError: When nothing of the past is with items of the catalogue, or nothing is to be found.
        LeakError: When the bundle has learned from what should be found.
        ShapeError: When there are not as many collections as users.
    """
    log, known = known_items(past, candidates.items)
    if known.unknown == known.interactions:
        raise InputError(no_known_item(past, candidates.items))
    if least is None:
        least = gathered(log, candidates.items).least
    measure = MEASURE if MEASURE in measures else measures[0]
    lines = [line for line, ids in enumerate(relevant) if len(ids)]
    drawn = draw(len(lines), users_in_time(candidates.items, MOST_JUDGED), seed)
    of_users, lines = len(lines), [lines[place] for place in drawn.tolist()]
    some, wanted = candidates.take(lines), [relevant[line] for line in lines]
    ours = evaluate(some, wanted, measures=measures)
    baselines = tuned_baselines(
        Past(log, candidates.items, least, content), way=way, share=share, measure=measure, seed=seed
    )
    depth = max(cutoffs(measures).values())
    found = [evaluate(_listed(one, some, depth), wanted, measures=measures) for one in baselines.fitted]
    told = _against(ours, found, baselines, measure, seed)
    new = np.array([not len(history) for history in some.histories], np.bool_)
    if new.any() and not new.all():
        of_new = _against(_among(ours, new), [_among(one, new) for one in found], baselines, measure, seed)
        told = replace(told, new=of_new)
    return replace(told, of_users=of_users)


def _against(
    ours: Evaluation, found: Sequence[Evaluation], baselines: Baselines, measure: str, seed: int
) -> AgainstBaselines:
    """Compare with each baseline, the best first."""
    rows = [
        Beside(one, measured, compare(measured, ours, seed=seed, resamples=DRAWS))
        for one, measured in zip(baselines.fitted, found, strict=True)
    ]
    rows.sort(key=lambda row: -row.measured.means[measure])
    relative = _relative(rows[0].measured.per_query[measure], ours.per_query[measure], seed)
    return AgainstBaselines(measure, tuple(rows), len(ours.query_ids), len(ours.query_ids), baselines, relative)


def _relative(theirs: Values, ours: Values, seed: int) -> tuple[float, float, float] | None:
    """Give the share by which one mean is above another, and its 95 % interval, in the same draws as the difference."""
    if theirs.mean() <= 0:
        return None
    drawn = bootstrap_means(np.column_stack([theirs, ours]), seed=seed, resamples=DRAWS)
    drawn = drawn[drawn[:, 0] > 0]
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0] - 1, [0.025, 0.975]).tolist()
    return float(ours.mean() / theirs.mean() - 1), low, high


def _among(evaluation: Evaluation, mask: Mask) -> Evaluation:
    """Keep some of the queries; what is of all lists together is left out."""
    ids = tuple(name for name, kept in zip(evaluation.query_ids, mask, strict=True) if kept)
    return Evaluation(ids, {name: values[mask] for name, values in evaluation.per_query.items()}, {}, 0)


def _listed(baseline: Tuned, users: Candidates, k: int) -> Candidates:
    """Ask a baseline for the users of other candidates."""
    weights = users.weights or [np.ones(len(history), np.float32) for history in users.histories]
    exclude = without(users.histories, np.flatnonzero(~users.items.alive))
    found = baseline.answer(Asked(users.histories, weights, exclude), k)
    nothing = np.zeros((len(users), 0), np.float32)
    return Candidates(nothing, found.rows, found.scores, users.items, "baseline", users.query_ids, users.histories)


def _two(percent: float) -> str:
    """Write a share in per cent: whole from ten on, with one place below."""
    return f"{percent:.0f}" if abs(percent) >= 9.95 else f"{percent:.1f}".replace("-0.0", "0.0")


def _signed(percent: float) -> str:
    written = _two(percent)
    return written if written.startswith("-") or written == "0.0" else f"+{written}"
