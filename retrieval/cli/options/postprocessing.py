"""What a list should be beyond relevant, as it is said on the command line: `--diversify`, `--cap`, `--rules`."""

from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.display.terminal import UsageError
from retrieval.postprocess.diversify import METHODS
from retrieval.postprocess.rules import Rules
from retrieval.retriever.postprocessing import Shape

Diversify = Annotated[
    str | None, typer.Option(help=f"Pick varied answers: {', '.join(METHODS)}; see docs/how-to/diversify.md.")
]
Strength = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="0 is relevance alone, 1 variety alone; .3 when not given.")
]
Sharpness = Annotated[float | None, typer.Option(help="Above 1, the first answers are kept more, the last ones less.")]
Alike = Annotated[
    str | None, typer.Option("--attribute", help="Items are alike by this attribute, not by content; for calibrated.")
]
Page = Annotated[
    int | None,
    typer.Option(min=1, help="Answers seen at once: each so many stand by relevance, not as they were picked."),
]
CapOption = Annotated[
    list[str] | None, typer.Option(help="At most so many answers of one value, like 'genres=3'; repeat for several.")
]
ApartOption = Annotated[
    float | None, typer.Option("--apart", help="No two answers more alike than this cosine, from 0 to 1, like .9.")
]
RulesFile = Annotated[Path | None, typer.Option(help="JSON file of business rules, applied last.")]
Deep = Annotated[
    int, typer.Option("--num-candidates", min=1, help="Candidates a query, of which those wanted are picked.")
]


def shape_of(
    diversify: str | None,
    caps: list[str] | None,
    rules: Path | None,
    *,
    attribute: str | None,
    strength: float | None,
    sharpness: float | None,
    page: int | None,
    apart: float | None,
) -> Shape:
    """Read what was given, so that faults are found before any work."""
    given = {"--attribute": attribute, "--strength": strength, "--sharpness": sharpness, "--page": page}
    if diversify is None and (idle := [name for name, value in given.items() if value is not None]):
        raise UsageError(f"{idle[0]} says how to diversify; give --diversify too, with one of {list(METHODS)}")
    if diversify is not None and diversify not in METHODS:
        raise UsageError(f"there is no method {diversify!r} to diversify; give --diversify one of {', '.join(METHODS)}")
    if diversify == "calibrated" and attribute is None:
        raise UsageError("calibrated lists need an attribute: name it with --attribute")
    return Shape(
        diversify,
        Shape.strength if strength is None else strength,
        Shape.sharpness if sharpness is None else sharpness,
        attribute,
        dict(parse_cap(text) for text in caps or []),
        Rules.from_json(rules) if rules else None,
        page,
        apart,
    )


def parse_cap(text: str) -> tuple[str, int]:
    """Read ``attribute=n``.

    >>> parse_cap("genres=3")
    ('genres', 3)

    Raises:
        UsageError: When it cannot be read.
    """
    name, equals, most = text.rpartition("=")
    if not equals or not name.strip() or not most.strip().isdecimal():
        raise UsageError(f"cannot read the cap {text!r}; write it like genres=3")
    return name.strip(), int(most)
