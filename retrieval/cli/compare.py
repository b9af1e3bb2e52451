"""`commonspace compare`."""

from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.evaluate import Html
from retrieval.cli.output import Json, write_file
from retrieval.cli.terminal import say, show_json, show_table
from retrieval.evaluation.compare import compare as compare_evaluations
from retrieval.evaluation.pages.compare_page import HEAD, Side, cells, comparison_page
from retrieval.evaluation.saved import load


def compare(
    a: Annotated[Path, typer.Argument(help="What `commonspace evaluate --save` wrote.")],
    b: Annotated[Path, typer.Argument(help="The same of another system, on the same queries.")],
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Compare two evaluations query by query: how much more B has than A, with intervals and tests."""
    first, second = load(a), load(b)
    found = compare_evaluations(first.evaluation, second.evaluation)
    if html is not None:
        page = comparison_page(found.rows, Side(a.name, first.about), Side(b.name, second.about), found.queries)
        write_file(html, page.encode())
    if as_json:
        show_json(found.to_json())
        return
    title = f"A {a}, B {b}: {found.queries} queries"
    # Without rules between columns it fits 80 characters, so that no name is cut.
    show_table(title, HEAD, map(cells, found.rows), whole=HEAD[:1], light=True)
    if html is not None:
        say(f"page written to {html}")
