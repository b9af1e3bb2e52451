"""Options of `commonspace fit`, `tune` and `prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from retrieval.cli.options.held_out import LearnHoldOut, SplitOption
from retrieval.cli.options.log import ContextColumnsOption, LiveEvents, ProfilesFile, names_in
from retrieval.cli.options.output import LossCurve, OutJson
from retrieval.fitting.fit_config import Effort

LEARNING, CLEANING = "Learning", "Cleaning"

Config = Annotated[
    Path | None,
    typer.Option("--config", rich_help_panel=LEARNING, help="JSON file of settings, as `commonspace tune` writes it."),
]
EffortOption = Annotated[
    Effort | None,
    typer.Option(
        "--effort",
        rich_help_panel=LEARNING,
        help="How long to train: fast takes about half of the time of default.",
    ),
]
ImpressionsFile = Annotated[
    str | None,
    typer.Option(
        "--impressions",
        rich_help_panel=LEARNING,
        help="A .parquet, .csv or .tsv file, or a URL of a database, of shown items: user, item, position and time. "
        "The reranker is then corrected for position bias.",
    ),
]
Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh",
        rich_help_panel=LEARNING,
        help="Start from the published model; the log is the whole log, with the new interactions in it.",
    ),
]
Publish = Annotated[
    bool,
    typer.Option(
        "--publish/--no-publish",
        rich_help_panel=LEARNING,
        help="Without it the new generation waits for `commonspace publish`.",
    ),
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        rich_help_panel=LEARNING,
        help="With --events: learn also where the live log is smaller than the log of the published model.",
    ),
]
Device = Annotated[str, typer.Option("--device", rich_help_panel=LEARNING, help="Where to train: cpu, cuda or cuda:1.")]
CheckpointDir = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint-dir",
        rich_help_panel=LEARNING,
        help="Folder of checkpoints, from which an interrupted command continues. By default a folder in the bundle, "
        "which is removed at the end.",
    ),
]
Study = Annotated[
    Path,
    typer.Option("--study", rich_help_panel=LEARNING, help="File that keeps the search, which continues from it."),
]
Trials = Annotated[
    int,
    typer.Option(
        "--trials", min=1, rich_help_panel=LEARNING, help="Number of settings to try, with those in the study."
    ),
]
MaxPerUser = Annotated[
    int | None,
    typer.Option("--max-per-user", min=1, rich_help_panel=CLEANING, help="Keep the latest interactions of each user."),
]
MaxPerItem = Annotated[
    int | None,
    typer.Option("--max-per-item", min=1, rich_help_panel=CLEANING, help="Keep the latest interactions of each item."),
]
KCore = Annotated[
    str | None,
    typer.Option(
        "--k-core",
        rich_help_panel=CLEANING,
        help="Keep users with so many items and items with so many users: 5 for both, or '5,3'.",
    ),
]
DropBots = Annotated[
    bool,
    typer.Option("--drop-bots/--keep-bots", rich_help_panel=CLEANING, help="Leave out users who act like programs."),
]
Shilling = Annotated[
    Literal["interactions", "users", "keep"],
    typer.Option(
        "--shilling",
        rich_help_panel=CLEANING,
        help="Of users who promote an item by shilling leave out the interactions with it, or the users; or keep all.",
    ),
]


@dataclass(frozen=True)
class FitOptions:
    """What is learned from, and how."""

    hold_out: LearnHoldOut = 0.0
    split: SplitOption = None
    effort: EffortOption = None
    config: Config = None
    profiles: ProfilesFile = None
    refresh: Refresh = False
    checkpoint_dir: CheckpointDir = None
    loss_curve: LossCurve = None
    impressions: ImpressionsFile = None
    context: ContextColumnsOption = None
    events: LiveEvents = None
    publish: Publish = True
    replace: Replace = False
    device: Device = "cpu"

    @property
    def context_columns(self) -> tuple[str, ...]:
        """The columns of the context."""
        return names_in(self.context)


@dataclass(frozen=True)
class TuneOptions:
    """Which settings are tried, on which part of a log."""

    out: OutJson
    study: Study = Path("study.log")
    trials: Trials = 50
    hold_out: LearnHoldOut = 0.0
    split: SplitOption = None
    config: Config = None


@dataclass(frozen=True)
class CleaningOptions:
    """What is left out of a log."""

    max_per_user: MaxPerUser = None
    max_per_item: MaxPerItem = None
    k_core: KCore = None
    drop_bots: DropBots = True
    shilling: Shilling = "interactions"
