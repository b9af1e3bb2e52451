"""`commonspace fit` and `commonspace tune`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from indexing.runtime.progress import progress
from retrieval.cli.display.curves import check_format, write_losses
from retrieval.cli.display.fit_progress import lessons_shown, show_report
from retrieval.cli.display.output import JSON_FILE, Json
from retrieval.cli.display.terminal import UsageError, show_json, show_pairs
from retrieval.cli.options.held_out import Way, held_out
from retrieval.cli.options.log import (
    ItemColumn,
    Log,
    LogOptions,
    MinWeight,
    Only,
    ProfilesFile,
    RepeatsOption,
    TimeColumn,
    UserColumn,
    WeightColumn,
    named_columns,
    note,
)
from retrieval.cli.query import BundleFolder
from retrieval.fitting.fit import fit as fit_bundle
from retrieval.fitting.report import FitConfig
from retrieval.fitting.tuning import tune as tune_bundle
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.training.settings import read_settings, write_settings

NOT_PUBLISHED = 3  # exit code of a fit that left what is in force
HoldOut = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=0.9,
        help="Share of the last interactions, of each user or with --split time of all, that nothing is learned from.",
    ),
]
Config = Annotated[Path | None, typer.Option(help="JSON file of settings, as `commonspace tune` writes.")]
Losses = Annotated[
    Path | None,
    typer.Option("--loss-curve", help="Draw the losses of each part, pass by pass, into this .html file."),
]
CutWay = Annotated[
    Way | None,
    typer.Option(
        "--split",
        help="Judge by the last part of each history, or by what all did after one moment; --hold-out is cut alike.",
    ),
]


def fit(
    bundle: BundleFolder,
    interactions: Log,
    only: Only = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    hold_out: HoldOut = 0.0,
    config: Config = None,
    cut: CutWay = None,
    profiles: ProfilesFile = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Go on from what is in force; the log holds all, with what is new in it.")
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint-dir",
            help="Folder that keeps the state of learning; after a kill the same command goes on. By default one in "
            "the bundle, which is gone afterwards.",
        ),
    ] = None,
    losses: Losses = None,
    as_json: Json = False,
) -> None:
    """Learn an adapter, a behaviour block and a reranking head, and publish what helps as a new generation.

    One that was stopped goes on where it stopped. The exit code is 3 when nothing was published.
    """
    if refresh and cut and not hold_out:
        raise UsageError("--split has no say in a refresh, which is judged by what all did lately: leave it out")
    if losses is not None:
        check_format(losses)
    columns = named_columns(user_column, item_column, time_column, weight_column)
    log = _log(interactions, LogOptions(only, min_weight, columns, repeats), hold_out, cut)
    settings = _settings(config, cut) if config or not refresh else None
    known = None if profiles is None else Profiles.open(profiles)
    with lessons_shown() as tell:
        report = fit_bundle(bundle, log, settings, profiles=known, refresh=refresh, work=work, progress=tell)
    if report.known is not None and (unknown := str(report.known)):
        note(unknown)
    if losses is not None:
        write_losses(report.training, losses, str(bundle))
    if as_json:
        show_json(report.to_json())
    else:
        used = len(log) - (report.known.unknown if report.known else 0)
        show_report(f"{bundle}: fit on {used} interactions", report)
    if report.refused:
        raise typer.Exit(NOT_PUBLISHED)


def tune(
    bundle: BundleFolder,
    interactions: Log,
    out: Annotated[
        Path, typer.Option(callback=JSON_FILE, help="Write the best settings to this JSON file, for `fit --config`.")
    ],
    study: Annotated[Path, typer.Option(help="Where the search is kept; it goes on from there.")] = Path("study.log"),
    trials: Annotated[int, typer.Option(min=1, help="Settings to try in all, those in the study included.")] = 50,
    only: Only = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    hold_out: HoldOut = 0.0,
    config: Config = None,
    cut: CutWay = None,
    as_json: Json = False,
) -> None:
    """Search for settings of the behaviour block; stop and go on at will."""
    columns = named_columns(user_column, item_column, time_column, weight_column)
    log = _log(interactions, LogOptions(only, min_weight, columns, repeats), hold_out, cut)
    with progress("tuning", trials, "trials") as told:

        def shown(done: int, best: float) -> None:
            told.advance(to=done, more=f"best {best:.4f}")

        found = tune_bundle(bundle, log, study, trials=trials, config=_settings(config, cut), progress=shown)
    write_settings(found.config, out)
    what = {"ndcg@20": found.value, "ndcg@20 at the start": found.start, "trials": found.trials, "written": str(out)}
    show_json(what) if as_json else show_pairs(f"{bundle}: tuned on later interactions", what)


def _log(path: str, options: LogOptions, hold_out: float, cut: Way | None) -> Interactions:
    log = options.open(path)
    return held_out(log, hold_out, cut).past if hold_out else log


def _settings(path: Path | None, way: Way | None) -> FitConfig:
    settings = read_settings(FitConfig, path) if path else FitConfig()
    return replace(settings, way=way) if way else settings
