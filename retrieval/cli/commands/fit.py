"""`commonspace fit` and `tune`."""

from dataclasses import replace
from pathlib import Path

import typer

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import ATTRIBUTES, IDS
from indexing.errors import TrainingError
from indexing.runtime.progress import progress
from retrieval.cli.display.curves import write_losses
from retrieval.cli.display.fit_progress import fit_progress, show_report
from retrieval.cli.display.terminal import UsageError, note, show_json, show_pairs
from retrieval.cli.options.held_out import SplitBy, held_out
from retrieval.cli.options.learning import FitOptions, TuneOptions
from retrieval.cli.options.log import Log, LogOptions, OptionalLog, open_impressions
from retrieval.cli.options.output import Json
from retrieval.cli.options.search import BundleFolder
from retrieval.cli.runs.live_log import read_live, url_for
from retrieval.fitting.fit import fit as fit_bundle
from retrieval.fitting.fit_config import Effort, FitConfig
from retrieval.fitting.publish_gate import why_log_smaller
from retrieval.fitting.report import FitReport
from retrieval.fitting.tuning import tune as tune_bundle
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.learned_parts import learned_events
from retrieval.training.settings import read_settings, write_settings

NOT_PUBLISHED = 3  # exit code of a fit that left the published model
WAYS_OUT = (
    "add the earlier log with `commonspace events import`, give --refresh, or say --replace to learn from these alone"
)


def fit(
    bundle: BundleFolder,
    log: LogOptions,
    learning: FitOptions,
    interactions: OptionalLog = None,
    as_json: Json = False,
) -> None:
    """Learn from interactions, and publish a new generation.

    The parts are an adapter, a behaviour block and a reranking head. A part is published if it is better than the
    current one. An interrupted fit continues where it stopped. The exit code is 3 when nothing was published.
    """
    _check_options(learning)
    learned = learned_events(Bundle.open(bundle)) if learning.refresh else None
    url = url_for(learning.events, interactions)
    if learning.replace and url is None:
        raise UsageError("--replace is for the live log; a fit from a file needs no leave: leave it out")
    shown: Impressions | None = None
    if url is None:
        train = log.open(interactions or "", learned=learned, context=learning.context_columns)
    else:
        train, shown = read_live(url, log, learned, learning.context_columns, is_refresh=learning.refresh)
        _check_size(bundle, train, learning)
    train = _train_part(train, learning.hold_out, learning.split)
    is_given = bool(learning.config) or not learning.refresh
    config = _settings(learning.config, learning.split, learning.effort) if is_given else None
    if learning.impressions is not None:
        shown = open_impressions(learning.impressions)
    profiles = None if learning.profiles is None else Profiles.open(learning.profiles)
    with fit_progress() as show:
        report = fit_bundle(
            bundle,
            train,
            config,
            profiles=profiles,
            impressions=shown,
            refresh=learning.refresh,
            publish=learning.publish,
            work=learning.checkpoint_dir,
            progress=show,
            device=learning.device,
        )
    if report.known is not None and (unknown := str(report.known)):
        note(unknown)
    if learning.loss_curve is not None:
        write_losses(report.training, learning.loss_curve, str(bundle))
    _show(report, bundle, len(train), as_json)
    if report.refused:
        raise typer.Exit(NOT_PUBLISHED)


def _show(report: FitReport, bundle: Path, interactions: int, as_json: bool) -> None:
    if as_json:
        show_json("fit", report.to_json())
    else:
        used = interactions - (report.known.unknown if report.known else 0)
        show_report(f"{bundle}: fit on {used} interactions", report)


def _check_options(learning: FitOptions) -> None:
    """Check that no two options exclude each other.

    Raises:
        UsageError: When two do.
    """
    if learning.refresh and learning.split and not learning.hold_out:
        raise UsageError("--split does not go with --refresh, which validates on the latest interactions: leave it out")
    if learning.refresh and learning.effort and not learning.config:
        raise UsageError("--refresh trains as the published model was trained: leave --effort out, or give --config")
    if learning.refresh and learning.replace:
        raise UsageError("--refresh continues from the published model and replaces none: leave --replace out")


def _check_size(bundle: Path, live: Interactions, learning: FitOptions) -> None:
    """Check that a live log has as many interactions as the published parts were trained on.

    Raises:
        TrainingError: When it has fewer, and they are neither to be refreshed nor replaced.
    """
    if learning.refresh or learning.replace:
        return
    if why := why_log_smaller(Bundle.open(bundle, only=(ATTRIBUTES, IDS)), live):
        raise TrainingError(why, cli=WAYS_OUT)


def tune(
    bundle: BundleFolder,
    interactions: Log,
    log: LogOptions,
    tuning: TuneOptions,
    as_json: Json = False,
) -> None:
    """Search for settings of the behaviour block.

    An interrupted search continues.
    """
    train = _train_part(log.open(interactions), tuning.hold_out, tuning.split)
    config = _settings(tuning.config, tuning.split)
    with progress("tuning", tuning.trials, "trials") as progress_bar:

        def advance(done: int, best: float) -> None:
            progress_bar.advance(to=done, more=f"best {best:.4f}")

        best = tune_bundle(bundle, train, tuning.study, trials=tuning.trials, config=config, progress=advance)
    write_settings(best.config, tuning.out)
    summary = {
        "ndcg@20": best.value,
        "ndcg@20 at the start": best.start,
        "trials": best.trials,
        "written": str(tuning.out),
    }
    show_json("tuning", summary) if as_json else show_pairs(f"{bundle}: tuned on later interactions", summary)


def _train_part(interactions: Interactions, fraction: float, by: SplitBy | None) -> Interactions:
    """Give a log without the interactions that are held out."""
    return held_out(interactions, fraction, by).past if fraction else interactions


def _settings(path: Path | None, by: SplitBy | None, effort: Effort | None = None) -> FitConfig:
    settings = read_settings(FitConfig, path) if path else FitConfig()
    return replace(settings, split=by or settings.split, effort=effort or settings.effort)
