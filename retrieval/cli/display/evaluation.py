"""What `commonspace evaluate` has measured: as JSON, and as people read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.cli.display.terminal import say, show_table
from retrieval.evaluation import (
    AgainstBaselines,
    Beyond,
    Evaluation,
    SliceRow,
    against_baselines,
    item_groups,
    item_slices,
    losses,
    slices,
    user_groups,
)
from retrieval.evaluation import evaluate as evaluate_candidates
from retrieval.evaluation.breakdown import Loss
from retrieval.evaluation.report.gather import described
from retrieval.retriever.retriever import Retriever

if TYPE_CHECKING:
    from retrieval.cli.options.evaluation import Asked

WITH, WITHOUT = "with a history", "without a history"


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured.

    Attributes:
        asked: Of whom or what.
        found: The measures.
        slices: Of users and items, where they were wanted.
        losses: What model and index lost, where it was wanted.
        against: Beside baselines, where they were wanted.
    """

    asked: "Asked"
    found: Evaluation
    slices: Sequence[SliceRow] = ()
    losses: Sequence[Loss] = ()
    against: AgainstBaselines | None = None

    def about(self, retriever: Retriever) -> dict[str, str]:
        """Say in words what was measured, and how."""
        beside = {} if self.against is None else {"beside baselines": str(self.against)}
        return {**self.asked.about, **described(retriever, self.asked.candidates), **beside}

    def to_json(self) -> dict[str, Any]:
        """Give everything as an object that ``json.dumps`` takes."""
        more = {"slices": [row.to_json() for row in self.slices], "losses": [row.to_json() for row in self.losses]}
        beside = None if self.against is None else self.against.to_json()
        return self.found.to_json() | dict(self.asked.extra) | more | {"baselines": beside}


def measure(retriever: Retriever, asked: "Asked", *, beyond: bool, sliced: bool, lost: bool) -> Measured:
    """Measure answers.

    Args:
        retriever: What gave them.
        asked: They, and what should be found.
        beyond: Measure novelty and the like too.
        sliced: Slice by users and items.
        lost: Say what was lost by the model, and what by the index.

    Raises:
        LeakError: When the bundle has learned from what should be found.
    """
    more = Beyond(past=asked.past, vectors=retriever.vectors) if beyond else None
    found = evaluate_candidates(asked.candidates, asked.relevant, measures=asked.measures, beyond=more)
    rows = slices(found, {"users": [WITH if len(one) else WITHOUT for one in asked.candidates.histories]})
    told = rows if len(rows) > 1 else []
    if sliced and asked.past is not None:
        groups = item_groups(retriever.bundle, asked.past)
        told = [
            *slices(found, user_groups(asked.past)),
            *told,
            *item_slices(asked.candidates, asked.relevant, groups),
        ]
    answered = asked.retrieved or asked.candidates
    what = losses(retriever, answered, asked.relevant, kind=asked.kind, measures=asked.measures) if lost else []
    return Measured(asked, found, told, what)


def beside_baselines(measured: Measured, retriever: Retriever) -> Measured:
    """Measure baselines on the same users."""
    asked = measured.asked
    if asked.parts is None or asked.past is None:
        return measured
    beside = against_baselines(
        asked.candidates,
        asked.relevant,
        asked.past,
        content=retriever.vectors,
        measures=asked.measures,
        way=asked.parts.way,
        share=asked.parts.share,
        least=asked.least,
    )
    return replace(measured, against=beside)


def show_measured(measured: Measured, written: Mapping[str, Path]) -> None:
    """Print what was measured, whether it is good first of all."""
    asked, found, against = measured.asked, measured.found, measured.against
    if against is not None:
        say(against)
        if against.new is not None:
            say(f"users without a history: {against.new}")
    if "split" in asked.about:
        say(asked.about["split"])
    title = f"{asked.about['queries'].partition(';')[0]} ({asked.candidates.stage})"
    rows = [(measure, f"{mean:.4f}", f"{low:.4f} to {high:.4f}") for measure, mean, low, high in found.table()]
    rows += [(measure, f"{share:.4f}", "") for measure, share in found.coverage.items()]
    if "median rank" in asked.about:
        rows.append(("median rank", asked.about["median rank"], ""))
    show_table(title, ("measure", "mean", "95 % interval"), rows)
    _show_users(measured)
    if against is not None:
        _show_baselines(against)
    for name, before in (("new users", ""), ("disliked", "dislikes: "), ("caution", "caution: ")):
        if name in asked.about:
            say(f"{before}{asked.about[name]}")
    for row in measured.losses:
        say(f"{row.measure}: {row.lost_by_model:.4f} lost by the model, {row.lost_by_index:.4f} by the index")
    for what, path in written.items():
        say(f"{what} written to {path}")


def _show_users(measured: Measured) -> None:
    """Show users with and without a history apart, where there are both."""
    rows = [row for row in measured.slices if row.name == "users"]
    if rows:
        head = ("measure", *(f"{row.queries} {row.value}" for row in rows))
        lines = [(name, *(f"{row.means[name]:.4f}" for row in rows)) for name in measured.found.per_query]
        show_table("", head, lines)


def _show_baselines(against: AgainstBaselines) -> None:
    lines = []
    for row in against.rows:
        apart = row.difference(against.measure)
        between = f"{apart.difference:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}]"
        lines.append((row.baseline.name, f"{apart.mean_a:.4f}", between, row.baseline.told()))
    head = ("baseline", against.measure, "ours less it, 95 % interval", "settings")
    show_table("", head, lines, whole=head[:1], light=True)
    for note in against.notes():
        say(f"baselines: {note}")
