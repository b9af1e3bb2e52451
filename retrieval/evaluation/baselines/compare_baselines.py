"""Compare recommendations with tuned baselines on the same users, and summarise the result in one sentence."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from retrieval.candidates import Candidates
from retrieval.evaluation.baselines.families import TrainingData, UserBatch
from retrieval.evaluation.baselines.tuned import (
    MIN_USERS,
    Baselines,
    Cut,
    TunedBaseline,
    draw_sample,
    max_users,
    tuned_baselines,
    with_deleted,
)
from retrieval.evaluation.compare import Comparison, Difference, compare
from retrieval.evaluation.evaluate import DEFAULT_MEASURES, Evaluation, evaluate, number
from retrieval.evaluation.metrics import cutoffs
from retrieval.evaluation.statistics import bootstrap_means
from retrieval.interactions.histories import all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import LoggedItems, check_known, known_items

PerQuery = NDArray[np.float64]

MAX_USERS = 5_000  # of more users a sample is drawn
MEASURE = "ndcg@10"
RESAMPLES = 2_000  # for the paired intervals

Verdict = Literal["better", "no clear difference", "worse", "too few users"]


class BaselineComparison(NamedTuple):
    """One baseline, its evaluation, and the comparison of the candidates with it.

    Attributes:
        baseline: The baseline with its settings.
        evaluation: The evaluation of the baseline.
        comparison: The baseline (a) and the candidates (b), paired by user.
    """

    baseline: TunedBaseline
    evaluation: Evaluation
    comparison: Comparison

    def difference(self, measure: str) -> Difference:
        """Return the difference in one measure."""
        return next(row for row in self.comparison.rows if row.measure == measure)


@dataclass(frozen=True, eq=False)
class AgainstBaselines:
    """Candidates compared with baselines on the same users.

    Attributes:
        measure: The measure that decides.
        rows: One per baseline, the best by that measure first.
        users: Number of users that were evaluated.
        available_users: Number of users with relevant items; of very many a sample is evaluated.
        baselines: The fitted baselines, and why others could not be fitted.
        relative: The difference from the best baseline and its interval as fractions of that baseline's mean; None if
            its mean is 0.
        new_users: The comparison for users without a history, if there are also users with one.
    """

    measure: str
    rows: tuple[BaselineComparison, ...]
    users: int
    available_users: int
    baselines: Baselines
    relative: tuple[float, float, float] | None
    new_users: "AgainstBaselines | None" = None

    @property
    def best(self) -> Difference:
        """The difference of the candidates from the best baseline."""
        return self.rows[0].difference(self.measure)

    @property
    def verdict(self) -> Verdict:
        """Whether the candidates are better than the best baseline: better or worse if the interval excludes zero."""
        if self.users < MIN_USERS:
            return "too few users"
        if self.best.low > 0:
            return "better"
        return "worse" if self.best.high < 0 else "no clear difference"

    def __str__(self) -> str:
        relative, best = self.relative, f"the best baseline, {self.rows[0].baseline.name}"
        values = f"{self.measure} {self.best.mean_b:.4f} against {self.best.mean_a:.4f}"
        if self.verdict == "too few users":
            return f"{self.users} users are too few to tell whether this is better than {best} ({values})"
        if relative is None:
            return f"{best}, finds nothing for {self.users} users ({values})"
        mean, low, high = (100 * bound for bound in relative)
        if self.verdict == "no clear difference":
            difference = f"{_signed(mean)} % [{_signed(low)}, {_signed(high)}]"
            return f"no clear difference from {best}, on {self.users} users: {difference} ({values})"
        worse = self.verdict == "worse"
        mean, low, high = (-mean, -high, -low) if worse else (mean, low, high)
        interval = f"[{_two_digits(low)}, {_two_digits(high)}]"
        return f"{_two_digits(mean)} % {self.verdict} than {best}, on {self.users} users {interval} ({values})"

    def notes(self) -> list[str]:
        """Return remarks: what was left out or sampled, and why."""
        notes = [f"{row.baseline.name} {row.baseline.note}" for row in self.rows if row.baseline.note]
        notes += [f"{name} left out: {why}" for name, why in self.baselines.left_out.items()]
        if not self.baselines.chosen_by:
            notes.append("the baselines have their usual settings: there were too few users, or too many interactions")
        if self.users < self.available_users:
            notes.append(
                f"baselines are compared on {self.users} of {self.available_users} users, drawn at random, for time"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """Return all fields for ``json.dumps``; NaN becomes null."""
        relative = self.relative
        return {
            "sentence": str(self),
            "verdict": self.verdict,
            "measure": self.measure,
            "best": self.rows[0].baseline.name,
            "relative": None if relative is None else dict(zip(("difference", "low", "high"), relative, strict=True)),
            "level": self.rows[0].comparison.level,
            "users": self.users,
            "of_users": self.available_users,
            "settings_chosen_by": self.baselines.chosen_by,
            "left_out": dict(self.baselines.left_out),
            "new_users": None if self.new_users is None else self.new_users.to_json(),
            "rows": [
                row.baseline.to_json()
                | {"means": {measure: number(mean) for measure, mean in row.evaluation.means.items()}}
                | {"difference": {d.measure: [number(v) for v in d[3:6]] for d in row.comparison.rows}}
                for row in self.rows
            ],
        }


def against_baselines(
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    interactions: Interactions,
    *,
    content: Vectors | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    way: Cut = "user",
    share: float = 0.2,
    min_relevance: float | None = None,
    seed: int = 0,
) -> AgainstBaselines:
    """Compare recommendations with baselines on the same users; the baselines are tuned on the latest interactions.

    The baselines are popularity, popularity decayed over 1 to 30 days, BM25 item-kNN, EASE, iALS and content; item-kNN
    and iALS need the extra ``baselines``. Each recommends for the histories of the candidates, without the items of the
    history and deleted items. On a large log only a part is used to save time; `AgainstBaselines.notes` tells which.

    Args:
        candidates: Results of `Retriever.recommend` for B users.
        relevant: For each user the item_ids that are relevant.
        interactions: Interactions before the test period, which the bundle may have been trained on.
        content: (N, D) float32, such as ``retriever.vectors``; the content baseline is left out if None.
        measures: The measures; ``"ndcg@10"`` decides, or the first if that is not among them.
        way: How the test part was cut off: the last interactions of each user, or all after one time. The validation
            part for tuning is cut off in the same way.
        share: The fraction of the interactions in the validation part.
        min_relevance: Interactions of a smaller weight are dislikes. If None, half of the largest weight for ratings,
            and 0 for other weights.
        seed: For iALS and for sampling users.

    Raises:
        InputError: If no interaction is with an item of the catalogue, or no user has relevant items.
        LeakError: If the bundle was trained on the relevant items.
        ShapeError: If the number of collections differs from that of users.
    """
    logged = LoggedItems.of(interactions, candidates.items)
    check_known(interactions, candidates.items, logged=logged)
    known_interactions, _ = known_items(interactions, candidates.items, logged)
    if min_relevance is None:
        min_relevance = all_histories(known_interactions, candidates.items).min_relevance
    measure = MEASURE if MEASURE in measures else measures[0]
    positions = [position for position, ids in enumerate(relevant) if len(ids)]
    sample = draw_sample(len(positions), max_users(candidates.items, MAX_USERS), seed)
    available_users, positions = len(positions), [positions[index] for index in sample.tolist()]
    users, targets = candidates.take(positions), [relevant[position] for position in positions]
    evaluation = evaluate(users, targets, measures=measures)
    data = TrainingData(known_interactions, candidates.items, min_relevance, content)
    baselines = tuned_baselines(data, way=way, share=share, measure=measure, seed=seed)
    k = max(cutoffs(measures).values())
    of_baselines = [
        evaluate(_baseline_candidates(baseline, users, k), targets, measures=measures) for baseline in baselines.fitted
    ]
    report = _against(evaluation, of_baselines, baselines, measure, seed)
    is_new = np.array([not len(history) for history in users.histories], np.bool_)
    if is_new.any() and not is_new.all():
        new_of_baselines = [_subset(baseline, is_new) for baseline in of_baselines]
        of_new = _against(_subset(evaluation, is_new), new_of_baselines, baselines, measure, seed)
        report = replace(report, new_users=of_new)
    return replace(report, available_users=available_users)


def _against(
    evaluation: Evaluation, of_baselines: Sequence[Evaluation], baselines: Baselines, measure: str, seed: int
) -> AgainstBaselines:
    """Compare an evaluation with that of each baseline, the best first."""
    rows = [
        BaselineComparison(baseline, measured, compare(measured, evaluation, seed=seed, resamples=RESAMPLES))
        for baseline, measured in zip(baselines.fitted, of_baselines, strict=True)
    ]
    rows.sort(key=lambda row: -row.evaluation.means[measure])
    relative = _relative(rows[0].evaluation.per_query[measure], evaluation.per_query[measure], seed)
    num_users = len(evaluation.query_ids)
    return AgainstBaselines(measure, tuple(rows), num_users, num_users, baselines, relative)


def _relative(baseline: PerQuery, candidates: PerQuery, seed: int) -> tuple[float, float, float] | None:
    """Return the relative difference of two means and its 95 % interval, from the resamples of the difference."""
    if baseline.mean() <= 0:
        return None
    means = bootstrap_means(np.column_stack([baseline, candidates]), seed=seed, resamples=RESAMPLES)
    means = means[means[:, 0] > 0]
    low, high = np.quantile(means[:, 1] / means[:, 0] - 1, [0.025, 0.975]).tolist()
    return float(candidates.mean() / baseline.mean() - 1), low, high


def _subset(evaluation: Evaluation, mask: Mask) -> Evaluation:
    """Return an evaluation of some of the queries, without measures of all lists together."""
    ids = tuple(query_id for query_id, selected in zip(evaluation.query_ids, mask, strict=True) if selected)
    return Evaluation(ids, {measure: values[mask] for measure, values in evaluation.per_query.items()}, {}, 0)


def _baseline_candidates(baseline: TunedBaseline, users: Candidates, k: int) -> Candidates:
    """Return the recommendations of a baseline for the users of other candidates."""
    weights = users.weights or [np.ones(len(history), np.float32) for history in users.histories]
    exclude = with_deleted(users.histories, np.flatnonzero(~users.items.is_live))
    ranked = baseline.recommend(UserBatch(users.histories, weights, exclude), k)
    no_queries = np.zeros((len(users), 0), np.float32)
    return Candidates(no_queries, ranked.rows, ranked.scores, users.items, "baseline", users.query_ids, users.histories)


def _two_digits(percent: float) -> str:
    """Format a percentage: without decimals from 10 on, else with one."""
    return f"{percent:.0f}" if abs(percent) >= 9.95 else f"{percent:.1f}".replace("-0.0", "0.0")


def _signed(percent: float) -> str:
    written = _two_digits(percent)
    return written if written.startswith("-") or written == "0.0" else f"+{written}"
