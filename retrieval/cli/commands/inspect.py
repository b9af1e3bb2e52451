"""`commonspace inspect`, `info` and `doctor`: a source, a bundle, and what makes its search bad."""

import warnings
from typing import Annotated

import typer

from indexing.bundle.bundle import Bundle
from indexing.diagnostics.health import examine
from indexing.diagnostics.inspect import inspect_catalogue
from indexing.diagnostics.inspect_page import inspection_page, overview
from indexing.runtime.progress import progress
from retrieval.cli.display.bundle import show_bundle
from retrieval.cli.display.columns import columns_in_words
from retrieval.cli.display.curves import write_curve, write_losses
from retrieval.cli.display.output import write_file
from retrieval.cli.display.terminal import Cell, say, show_json, show_pairs
from retrieval.cli.options.evaluation import Seed
from retrieval.cli.options.items import MediaColumns, Source, or_sample
from retrieval.cli.options.output import Html, Json, LossCurve, RecallCurve
from retrieval.cli.options.postprocessing import GroupBy
from retrieval.cli.options.search import BundleFolder
from retrieval.postprocess.duplicate_groups import groups_by_attribute, groups_by_content
from retrieval.postprocess.duplicates import MIN_SIMILARITY
from retrieval.ranking.published_heads import PublishedHeads
from retrieval.retriever.index_status import DegradedIndexWarning
from retrieval.retriever.learned_parts import LearnedParts
from retrieval.retriever.retriever import Retriever

Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Number of rows to read; by default all.")]
MinSimilarity = Annotated[
    float,
    typer.Option(
        "--min-similarity", help="Cosine from which two items are near-duplicates, for the groups that are listed."
    ),
]
VERDICTS = {True: "good", False: "look"}


def inspect(source: Source, items: MediaColumns, limit: Limit = None, html: Html = None, as_json: Json = False) -> None:
    """Check the rows of a source before a build.

    Every row is read: what is kept, what is missing or broken, which are duplicates.
    """
    catalogue = items.open(or_sample(source))
    with progress("reading", limit, "rows") as shown:
        inspected = inspect_catalogue(catalogue, limit=limit, progress=shown.advance)
    if html is not None:
        write_file(html, inspection_page(inspected, catalogue).encode())
    if as_json:
        show_json("inspection", inspected.to_json())
        return
    columns = columns_in_words(inspected.columns, inspected.columns["attributes"], inspected.columns["taken"])
    show_pairs(inspected.source, overview(inspected) | columns)
    if html is not None:
        say(f"page with pictures written to {html}")


def info(
    bundle: BundleFolder, recall_curve: RecallCurve = None, loss_curve: LossCurve = None, as_json: Json = False
) -> None:
    """Show what a bundle contains, and what it has learned.

    The recall of its index is shown as it was measured by the build, and as it is now.
    """
    opened = Bundle.open(bundle)
    if recall_curve is not None:
        write_curve(opened.manifest.index, recall_curve, str(bundle))
    if loss_curve is not None:
        write_losses(opened.manifest.learned.get("training", {}), loss_curve, str(bundle))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegradedIndexWarning)  # which is shown below
        retriever = Retriever(opened)
    show_bundle(opened, as_json, retriever.status, heads=PublishedHeads.of(retriever.state.reranker))


def doctor(
    bundle: BundleFolder,
    seed: Seed = 0,
    min_similarity: MinSimilarity = MIN_SIMILARITY,
    group_by: GroupBy = None,
    as_json: Json = False,
) -> None:
    """Look for what makes search bad, like hubs or duplicates.

    Others are damage, quarantined content, a modality gap and vectors of little spread. Groups of near-duplicates and
    of variants are listed with examples.
    """
    opened = Bundle.open(bundle)
    findings = examine(opened, seed=seed)
    groups = [groups_by_content(LearnedParts(opened).content(opened), min_similarity, seed)]
    if group_by is not None:
        groups.append(groups_by_attribute(opened, group_by))
    if as_json:
        show_json(
            "diagnosis",
            {
                "bundle": str(bundle),
                "generation": opened.manifest.generation,
                "good": all(finding.good for finding in findings),
                "findings": [finding.to_json() for finding in findings],
                "duplicate_groups": [found.to_json(opened.items) for found in groups],
            },
        )
        return
    rows: dict[str, Cell] = {
        f"{VERDICTS[finding.good]}: {finding.name}": [
            finding.verdict,
            *([f"→ {finding.hint}"] if finding.hint else []),
        ]
        for finding in findings
    }
    rows |= {f"groups by {found.by}": found.in_words(opened.items) for found in groups}
    show_pairs(str(bundle), rows)
