"""Learning as a job: from the log of live events as it stood when the job began, or from an uploaded log."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import ATTRIBUTES, IDS
from indexing.errors import InputError, TrainingError
from retrieval.fitting.fit import fit
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.publish_gate import why_log_smaller
from retrieval.fitting.steps import Step
from retrieval.interactions.event_types import EventTypes, beside_usual
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.log_schema import ReadOptions
from retrieval.retriever.learned_parts import learned_events

LOG = "interactions.parquet"
LIVE, UPLOAD = "events", "upload"
"""Where a log is from: the service, or the request."""
SETTINGS = ("effort", "split", "exposure_floor")
"""The fields of `FitConfig` that a request may give."""
WAYS_OUT = (
    'add the earlier log with `commonspace events import`, ask for {"refresh": true}, or say {"replace": true} to '
    "learn from these alone"
)

Read = tuple[Interactions, Impressions | None]


def fit_bundle(
    root: Path,
    asked: Mapping[str, Any],
    log: Path | None,
    events: str | None,
    progress: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Learn as a request asks; see `fit`.

    Args:
        root: Folder of the bundle.
        asked: `SETTINGS`, ``refresh``, ``replace``, ``publish``, ``context``, and ``up_to``, the last event to read.
        log: The uploaded log, where ``asked["log"]`` says that there is one; else that of live events is read.
        events: URL of the log of live events.
        progress: Called with each step.

    Returns:
        The report, as plain values.

    Raises:
        TrainingError: When live events are fewer than the published parts were trained on, and are not to replace them.
        CommonspaceError: As `fit` does.
    """
    bundle = Bundle.open(root, only=(ATTRIBUTES, IDS))
    learned = learned_events(bundle)
    types = beside_usual(None if learned is None else learned.types)
    context = tuple(asked.get("context", ()))
    if asked.get("log") == UPLOAD:
        if log is None:
            raise InputError("the uploaded log is gone; upload it again")
        interactions, impressions = Interactions.open(log, default_events=types, context=context), None
    else:
        interactions, impressions = _live(events, types, context, asked.get("up_to"))
        alone = not (asked.get("refresh") or asked.get("replace"))
        if alone and (why := why_log_smaller(bundle, interactions)):
            raise TrainingError(f"{why}; {WAYS_OUT}")
    refresh, settings = bool(asked.get("refresh")), {name: asked[name] for name in SETTINGS if name in asked}
    report = fit(
        root,
        interactions,
        None if refresh else FitConfig(**settings),
        impressions=None if refresh else impressions,  # a refresh trains no head
        refresh=refresh,
        publish=asked.get("publish", True),
        progress=lambda step: progress(_in_words(step)),
    )
    unused = {**interactions.dropped, **(impressions.dropped if impressions is not None else {})}
    return report.to_json() | {"rows_left_out": unused}


def _live(url: str | None, types: EventTypes, context: tuple[str, ...], up_to: int | None) -> Read:
    from retrieval.serving.events.event_log import EventLog  # loads sqlalchemy

    if url is None:
        raise InputError("this service has no log of live events; start it with --events URL, or upload a log")
    with EventLog.open(url, create=False) as log:
        options = ReadOptions(log.database.shown, events=types, context=context)
        return log.interactions(options, up_to=up_to), log.impressions(up_to=up_to)


def _in_words(step: Step) -> dict[str, Any]:
    return {
        "step": f"{step.part} ({step.trained_on})",
        "done": step.done,
        "total": step.total or None,
        "number": step.number or None,
        "steps": step.steps or None,
    }
