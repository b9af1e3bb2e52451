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
    """Show a line for each step while it runs: its number, its progress, and the time since the start."""
    start_time = monotonic()
    with progress() as progress_bar:
        current = ""

        def show(step: Step) -> None:
            nonlocal current
            step_number = f"{step.number}/{step.steps} " if step.number else ""
            if current != (label := f"{step_number}{step.part} ({step.trained_on})"):
                current = label
                progress_bar.begin(label, step.total or None)
            since_start = f"{duration(monotonic() - start_time)} since the start"
            progress_bar.advance(to=step.done, total=step.total or None, more=since_start)

        yield show


def show_report(title: str, report: FitReport) -> None:
    """Show the parts and their validation; the last line says what was published, and why."""
    rows = []
    parts = ("frozen", "published", "refreshed", "adapter", "behaviour", "reranker")
    for part in parts:
        if part in report.ndcg or part in report.training:
            value = f"{report.ndcg[part]:.4f}" if part in report.ndcg else ""
            rows.append((part, *_epochs(report.training.get(part, {})), value))
    if report.serves_returning and report.in_time is not None:
        rows.append(("reranker for returning users", "", "", f"{report.in_time.after:.4f}"))
    show_table(title, ("part", "epochs", "loss", "ndcg@10 on later interactions"), rows)
    search = (
        f"{name}: " + ", ".join(f"{part} {value:.4f}" for part, value in recall.items())
        for name, recall in report.search.items()
    )
    on_new_interactions = {part: value for part, value in report.ndcg.items() if part not in parts}
    pairs = {
        "ndcg@10 on new interactions": ", ".join(
            f"{part.split(',')[0]} {value:.4f}" for part, value in on_new_interactions.items()
        ),
        "recall@10 of items by their own and by noisy vectors": "; ".join(search),
        "weights of a query": ", ".join(
            f"{_WEIGHTS.get(name, name)} {_weight(value)}" for name, value in report.serving.items()
        ),
        "ndcg@10 after short histories, by length": "; ".join(
            f"{items}: " + ", ".join(f"{part} {value:.4f}" for part, value in values.items())
            for items, values in report.short.items()
        ),
        "ndcg@20 of new users on their first items": _new_users(report.new_users),
        "ndcg@10 of returning users in later windows": _in_time(report.in_time),
        "with the context of requests, ndcg@10": _in_context(report),
        "examination probability by position": _curve(report.position_curve),
        "scores lowered, because of over-exposure": examples(report.held_back) if report.held_back else "",
        **{part: why for part, why in report.notes.items()},
        **({f"log: {name}": text for name, text in report.preparation.summary().items()} if report.preparation else {}),
        "published parts": ", ".join(report.current) or "no learned part",
        "generation": report.generation,
        "staged": report.staged,
    }
    show_pairs("", {name: value for name, value in pairs.items() if value})
    say(str(report))


_WEIGHTS = {
    "half_life": "half-life of a history (items)",
    "share": "next-item tower",
    "popular": "popularity",
    "content": "content",
    "few": "history length that counts half",
    "returning_half_life": "returning users: half-life",
    "returning_share": "next-item tower",
    "returning_popular": "popularity",
    "returning_content": "content",
}


def _weight(value: float) -> str:
    return "none" if value >= ALL_ALIKE else f"{value:g}"


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
