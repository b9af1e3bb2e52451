"""`commonspace encoders`: which encoders there are, and which one suits your items."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from indexing.encoders import KNOWN, load_encoder
from indexing.store.encode import EncodeConfig, OnProgress, encode_progress
from retrieval.cli.display.terminal import say, show_json, show_table
from retrieval.cli.options.command import Command, with_groups
from retrieval.cli.options.encoding import DEFAULT_ENCODER
from retrieval.cli.options.evaluation import RankOptions
from retrieval.cli.options.items import SourceOption, TextAndImageColumns, or_sample
from retrieval.cli.options.output import Json, OutFolder
from retrieval.evaluation.encoder_benchmark.ranking import EncoderRanking, EncoderResult, RankConfig, rank_encoders

app = typer.Typer(name="encoders", help="List encoders, and measure which one suits your items.", no_args_is_help=True)


@app.command("list", cls=Command)
def list_encoders(as_json: Json = False) -> None:
    """List the forms of name that encoders have."""
    names = KNOWN.split(", ")
    show_json("encoder", *({"name": name} for name in names)) if as_json else say(*names)


@app.command(cls=Command)
@with_groups
def rank(
    source: SourceOption,
    items: TextAndImageColumns,
    options: RankOptions,
    out: OutFolder = Path("encoders"),
    as_json: Json = False,
) -> None:
    """Measure encoders on your own items.

    An interrupted command continues where it stopped.
    """
    catalogue = items.open(or_sample(source))
    encode = EncodeConfig(options.batch_size, options.workers)
    config = RankConfig(options.sample_size, options.label_column, options.seed, encode)
    names = options.encoder or [DEFAULT_ENCODER]

    @contextmanager
    def encoding(name: str, contents: int) -> Iterator[OnProgress]:
        with encode_progress(contents, shown=True, label=f"encoding by {name}") as advance:
            yield advance

    ranking = rank_encoders(catalogue, names, out, config=config, load=load_encoder, track_progress=encoding)
    show_json("encoder_ranking", ranking.to_json()) if as_json else _show(ranking)
    if not ranking.results:
        raise typer.Exit(1)


def _show(ranking: EncoderRanking) -> None:
    """Print the figures with their intervals, and why an encoder is missing."""
    rows: dict[str, list[str]] = {}
    for number, result in enumerate(ranking.results):
        for name, value in _lines(result).items():
            rows.setdefault(name, ["-"] * len(ranking.results))[number] = value
    if ranking.results:
        label = f"; probes predict the column {ranking.label}" if ranking.label else "; no column for probes was found"
        say(f"{ranking.items} items, best first by recall@10 of both directions; [95 % interval]{label}")
        head = ["", *(result.name for result in ranking.results)]
        show_table("", head, [(name, *values) for name, values in rows.items()])
    for name, reason in ranking.failed.items():
        say(f"{name}: {reason}", err=True)


def _lines(result: EncoderResult) -> dict[str, str]:
    """Give name and value of each line of a result's column."""
    lines: dict[str, str] = {}
    for direction, measures in result.retrieval.items():
        if isinstance(measures, dict):
            lines |= {f"{direction}, {name}": _estimate(value) for name, value in measures.items() if name != "ranks"}
    if result.against_first:
        lines["recall@10 against the first"] = _estimate(result.against_first)
    for block, probes in result.probes.get("from", {}).items():
        for probe in ("linear", "knn"):
            lines[f"{result.probes['label']} from {block}, {probe}"] = _estimate(probes[probe])
        lines[f"{result.probes['label']} from {block}, test items"] = str(probes["test"])
    if result.probes:
        lines[f"{result.probes['label']}, always the largest class"] = f"{result.probes['largest_class']:.3f}"
    lines |= _health(result.health)
    lines |= {f"{modality}s/s": _speed(speed) for modality, speed in result.items_per_second.items()}
    return lines | {"dimensions": str(result.dim), "bytes an item": f"{result.bytes_per_item:.0f}"}


def _health(findings: dict[str, Any]) -> dict[str, str]:
    """Give the figure of each finding that tells encoders apart, marked where its verdict is bad."""
    lines = {}
    for name, finding in findings.items():
        values, warning = finding["values"], "" if finding["good"] else " (!)"
        if name.startswith("gap"):
            lines[f"{name}, share of a pair's distance"] = f"{values['share']:.2f}{warning}"
        elif name == "anisotropy":
            lines["participation ratio of items"] = f"{values['item']['participation_ratio']:.1f}{warning}"
        elif name.startswith("hubness"):
            lines[f"{name}, skewness"] = f"{values['skewness']:.1f}{warning}"
    return lines


def _estimate(estimate: dict[str, Any]) -> str:
    form = ".3f" if abs(estimate["value"]) <= 1 and abs(estimate["high"]) <= 1 else ".1f"
    return f"{estimate['value']:{form}} [{estimate['low']:{form}}, {estimate['high']:{form}}]"


def _speed(speed: float | None) -> str:
    return "kept from before" if speed is None else f"{speed:.0f}"
