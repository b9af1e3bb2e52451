"""`commonspace doctor`."""

from typing import Annotated

import typer

from indexing.bundle import Bundle
from indexing.health import examine
from retrieval.cli.output import Json
from retrieval.cli.query import BundleFolder
from retrieval.cli.terminal import Cell, show_json, show_pairs

MENDED = {True: "good", False: "look"}


def doctor(
    bundle: BundleFolder,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples that are drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Look for what makes search bad: damage, quarantine, modality gap, narrow spread, hubs, duplicates."""
    opened = Bundle.open(bundle)
    findings = examine(opened, seed=seed)
    if as_json:
        show_json(
            {
                "bundle": str(bundle),
                "generation": opened.manifest.generation,
                "good": all(finding.good for finding in findings),
                "findings": [finding.to_json() for finding in findings],
            }
        )
        return
    shown: dict[str, Cell] = {
        f"{MENDED[one.good]}: {one.name}": [one.verdict, *([f"→ {one.way_out}"] if one.way_out else [])]
        for one in findings
    }
    show_pairs(str(bundle), shown)
