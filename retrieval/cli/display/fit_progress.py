"""Progress of `commonspace fit`, and the report at its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from indexing.errors import examples
from indexing.runtime.progress import duration, progress
from retrieval.cli.display.terminal import say, show_pairs, show_table
from retrieval.fitting.report import FitReport
from retrieval.fitting.selection.validation import Gain
from retrieval.fitting.steps import Step
from retrieval.models.user_model import ALL_ALIKE


@contextmanager
def fit_progress() -> Iterator[Callable[[Step], None]]:
    """Show a line for each step while it runs: which of how many, how far it is, and the time since the start."""
    start_time = monotonic()
    with progress() as progress_bar:
        current = ""

        def show(step: Step) -> None:
            nonlocal current
            step_number = f"{step.number}/{step.steps} " if step.number else ""
            if current != (label := f"{step_number}{step.part}, from {step.past}"):
                current = label
                progress_bar.begin(label, step.total or None)
            since_start = f"{duration(monotonic() - start_time)} since the start"
            progress_bar.advance(to=step.done, total=step.total or None, more=since_start)

        yield show


def show_report(title: str, report: FitReport) -> None:
    """Show what was learned and how it was validated; the last line says what was published, and why."""
    rows = []
    parts = ("frozen", "in force", "refreshed", "adapter", "behaviour", "reranker")
    for part in parts:
        if part in report.ndcg or part in report.training:
            value = f"{report.ndcg[part]:.4f}" if part in report.ndcg else ""
            rows.append((part, *_epochs(report.training.get(part, {})), value))
    show_table(title, ("part", "epochs", "loss", "ndcg@10 on later interactions"), rows)
    search = (
        f"{name}: " + ", ".join(f"{part} {value:.4f}" for part, value in recall.items())
        for name, recall in report.search.items()
    )
    on_new_interactions = {part: value for part, value in report.ndcg.items() if part not in parts}
    pairs = {
        "ndcg@10 on what came since": ", ".join(
            f"{part.split(',')[0]} {value:.4f}" for part, value in on_new_interactions.items()
        ),
        "items found by their own and by noisy vectors, recall@10": "; ".join(search),
        "weights of a query": ", ".join(
            f"{_WEIGHTS.get(name, name)} {_weight(value)}" for name, value in report.serving.items()
        ),
        "short histories, by their items, ndcg@10": "; ".join(
            f"{items}: " + ", ".join(f"{part} {value:.4f}" for part, value in values.items())
            for items, values in report.short.items()
        ),
        "new users, ndcg@20 of what they did first": _new_users(report.new_users),
        "users who return, in later windows, ndcg@10": _in_time(report.in_time),
        "with the context of requests, ndcg@10": _in_context(report),
        "how likely a position is examined": _curve(report.position_curve),
        "held back, for they would be shown out of proportion": examples(report.held_back) if report.held_back else "",
        **{part: why for part, why in report.notes.items()},
        **({f"log: {name}": text for name, text in report.preparation.lines().items()} if report.preparation else {}),
        "in force": ", ".join(report.in_force) or "no learned part",
        "generation": report.generation,
    }
    show_pairs("", {name: value for name, value in pairs.items() if value})
    say(str(report))


_WEIGHTS = {
    "half_life": "half-life of a history (items)",
    "share": "next-item tower",
    "popular": "popularity",
    "content": "content",
    "few": "items at which a history counts half",
    "returning_half_life": "after a while: half-life",
    "returning_share": "next-item tower",
    "returning_popular": "popularity",
    "returning_content": "content",
}


def _weight(value: float) -> str:
    return "of all alike" if value >= ALL_ALIKE else f"{value:g}"


def _curve(curve: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{value:.2f}" for value in curve["propensities"][:10]) if curve else ""


def _in_time(gain: Gain | None) -> str:
    if gain is None:
        return ""
    return f"{gain.after:.4f} by both stages, {gain.before:.4f} by retrieval; difference {gain}, {gain.users} users"


def _in_context(report: FitReport) -> str:
    if (gain := report.in_context) is None or "context" in report.notes:
        return ""
    return f"{gain.after:.4f} with it, {gain.before:.4f} without; difference {gain}, {gain.users} users"


def _new_users(ndcg: Mapping[str, float]) -> str:
    return f"with profiles {ndcg['profiles']:.4f}, by popularity alone {ndcg['popular']:.4f}" if ndcg else ""


def _epochs(curve: Mapping[str, Any]) -> tuple[str, str]:
    """Give the epochs in which a part was trained, and its first and last loss."""
    losses = curve.get("train")
    if not losses:
        return "", ""
    best_epoch = f"{curve['best']} of {len(losses)}" if curve["best"] != len(losses) else str(len(losses))
    return best_epoch, f"{losses[0]:.3f} → {losses[max(curve['best'], 1) - 1]:.3f}"
