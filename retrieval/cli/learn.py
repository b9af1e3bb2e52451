"""`commonspace fit` and `commonspace tune`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from retrieval.cli.log import Log, MinWeight, Only, open_log
from retrieval.cli.output import Json, progress_wanted, show_json, show_pairs
from retrieval.cli.query import BundleFolder
from retrieval.fit import fit as fit_bundle
from retrieval.fit_report import FitConfig
from retrieval.interactions import Interactions
from retrieval.prepare import hold_out_last
from retrieval.settings import read_settings, write_settings
from retrieval.tuning import tune as tune_bundle

HoldOut = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Share of each user's last interactions kept away from learning.")
]
Config = Annotated[Path | None, typer.Option(help="JSON file of settings, as `commonspace tune` writes.")]
CutWay = Annotated[
    Literal["user", "time"] | None,
    typer.Option(help="Judge by the last part of each history, or by what all did after one moment."),
]


def fit(
    bundle: BundleFolder,
    interactions: Log,
    only: Only = None,
    min_weight: MinWeight = None,
    hold_out: HoldOut = 0.0,
    config: Config = None,
    cut: CutWay = None,
    as_json: Json = False,
) -> None:
    """Learn an adapter, a behaviour block and a reranking head, and publish what helps as a new generation."""
    log = _log(interactions, only, min_weight, hold_out)
    report = fit_bundle(bundle, log, _settings(config, cut))
    if as_json:
        show_json(report.to_json())
        return
    search = (
        f"{name}: " + ", ".join(f"{part} {value:.4f}" for part, value in found.items())
        for name, found in report.search.items()
    )
    show_pairs(
        f"{bundle}: learned from {len(log)} interactions",
        {
            "published": report.refused
            or ", ".join(report.published)
            or "nothing: what was learned did not help on later interactions",
            "ndcg@10 on later interactions": ", ".join(f"{part} {value:.4f}" for part, value in report.ndcg.items()),
            "search by own and blurred vectors, recall@10": "; ".join(search),
            "how queries are served": ", ".join(f"{name} {value:g}" for name, value in report.serving.items()),
            **({"log": report.preparation.lines()["interactions"]} if report.preparation else {}),
            "generation": report.generation,
        },
    )


def tune(
    bundle: BundleFolder,
    interactions: Log,
    out: Annotated[Path, typer.Option(help="Write the best settings to this JSON file, for `fit --config`.")],
    study: Annotated[Path, typer.Option(help="Where the search is kept; it goes on from there.")] = Path("study.log"),
    trials: Annotated[int, typer.Option(min=1, help="Settings to try in all, those in the study included.")] = 50,
    only: Only = None,
    min_weight: MinWeight = None,
    hold_out: HoldOut = 0.0,
    config: Config = None,
    cut: CutWay = None,
    as_json: Json = False,
) -> None:
    """Search for settings of the behaviour block; stop and go on at will."""
    log = _log(interactions, only, min_weight, hold_out)
    with Progress(console=Console(stderr=True), disable=not progress_wanted(as_json)) as bar:
        task = bar.add_task("tuning", total=trials)

        def shown(done: int, best: float) -> None:
            bar.update(task, completed=done, description=f"tuning, best {best:.4f}")

        found = tune_bundle(bundle, log, study, trials=trials, config=_settings(config, cut), progress=shown)
    write_settings(found.config, out)
    told = {"ndcg@20": found.value, "ndcg@20 at the start": found.start, "trials": found.trials, "written": str(out)}
    show_json(told) if as_json else show_pairs(f"{bundle}: tuned on later interactions", told)


def _log(path: str, only: str | None, min_weight: float | None, hold_out: float) -> Interactions:
    log = open_log(path, only=only, min_weight=min_weight)
    return hold_out_last(log, hold_out)[0] if hold_out else log


def _settings(path: Path | None, way: Literal["user", "time"] | None) -> FitConfig:
    settings = read_settings(FitConfig, path) if path else FitConfig()
    return replace(settings, way=way) if way else settings
