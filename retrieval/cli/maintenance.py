"""`commonspace compact`, `rollback`, `verify` and `repair`."""

from pathlib import Path
from typing import Annotated

import typer

from indexing.bundle.bundle import Bundle
from indexing.bundle.maintenance.rollback import generations
from indexing.bundle.maintenance.rollback import rollback as roll_back
from indexing.bundle.maintenance.verify import Problem
from indexing.bundle.maintenance.verify import verify as find_problems
from indexing.runtime.progress import progress
from retrieval.cli.display.output import Json
from retrieval.cli.display.terminal import say, show_json, show_pairs
from retrieval.cli.query import BundleFolder
from retrieval.retriever.learned_parts import compact as compact_bundle
from retrieval.retriever.learned_parts import repair as repair_bundle


def compact(bundle: BundleFolder, as_json: Json = False) -> None:
    """Fold the changes into a new generation; searching and adding may go on meanwhile."""
    with progress("compacting"):
        compacted = compact_bundle(bundle)
    _show(compacted, as_json)


def rollback(
    bundle: BundleFolder,
    to: Annotated[str | None, typer.Option(help="Name of a kept generation; the one before if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Put an earlier generation in force again, with every change since."""
    _show(roll_back(bundle, to), as_json)


def verify(bundle: BundleFolder, as_json: Json = False) -> None:
    """Compare every byte with what was written; the exit code is 1 when what is in force is damaged."""
    with progress("verifying", unit="files") as shown:
        problems = find_problems(bundle, lambda path: shown.advance(1, more=path))
    if as_json:
        show_json({"bundle": str(bundle), "problems": [problem.to_json() for problem in problems]})
    else:
        _show_problems(bundle, problems)
    if any(problem.serving for problem in problems):
        raise typer.Exit(1)


def repair(
    bundle: BundleFolder,
    drop_changes: Annotated[
        bool, typer.Option("--drop-changes", help="Give up changes from the first damaged one on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Mend what can be mended: which generation is in force, and its index."""
    report = repair_bundle(bundle, drop_changes=drop_changes)
    if as_json:
        show_json({"bundle": str(bundle), **report.to_json()})
    else:
        if report.done:
            show_pairs(f"{bundle}: repaired", {str(place): line for place, line in enumerate(report.done, start=1)})
        else:
            say(f"{bundle}: nothing had to be repaired")
        _show_problems(bundle, list(report.left))
    if any(problem.serving for problem in report.left):
        raise typer.Exit(1)


def _show(bundle: Bundle, as_json: bool) -> None:
    about = {
        "bundle": str(bundle.root),
        "generation": bundle.manifest.generation,
        "kept": generations(bundle.root),
        "items": int(bundle.alive.sum()),
        "batches_since": len(bundle.batches),
    }
    if as_json:
        show_json(about)
    else:
        show_pairs(str(bundle.root), about | {"kept": ", ".join(generations(bundle.root))})


def _show_problems(bundle: Path, problems: list[Problem]) -> None:
    if not problems:
        say(f"{bundle}: every byte is as it was written")
    for problem in problems:
        where = "in force" if problem.serving else "kept"
        show_pairs(problem.path, {where: problem.what, "way out": problem.way_out})
