"""What a list should be beyond relevant, as it is said on the command line: `--diversify`, `--cap`, `--rules`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, cast

import typer

from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.diversify import METHODS, Method
from retrieval.retriever import Retriever
from retrieval.rules import Rules

Diversify = Annotated[
    str | None, typer.Option(help=f"Pick answers that are varied, too: {', '.join(METHODS)}; see docs/diversify.md.")
]
Strength = Annotated[float | None, typer.Option(help="0 is relevance alone, 1 variety alone; .3 when not given.")]
Sharpness = Annotated[float | None, typer.Option(help="Above 1, the first answers are kept more, the last ones less.")]
Alike = Annotated[
    str | None, typer.Option("--attribute", help="Items are alike by this attribute, not by content; for calibrated.")
]
CapOption = Annotated[
    list[str] | None, typer.Option(help="At most so many answers of one value, like 'genres=3'; repeat for several.")
]
RulesFile = Annotated[Path | None, typer.Option(help="JSON file of business rules, applied last.")]
Deep = Annotated[int, typer.Option(min=1, help="Candidates a query, of which those wanted are picked.")]


@dataclass(frozen=True)
class Shape:
    """What was said on the command line.

    Attributes:
        diversify: The method.
        cap: Texts like ``"genres=3"``.
        rules: A JSON file.
        attribute: In place of content.
        strength: Of variety.
        sharpness: Of relevance.
    """

    diversify: str | None
    cap: list[str] | None
    rules: Path | None
    attribute: str | None
    strength: float | None
    sharpness: float | None

    def __post_init__(self) -> None:
        given = {"--attribute": self.attribute, "--strength": self.strength, "--sharpness": self.sharpness}
        if self.diversify is None and (idle := [name for name, value in given.items() if value is not None]):
            raise InputError(f"{idle[0]} says how to diversify; give --diversify too, with one of {list(METHODS)}")

    @property
    def asked(self) -> bool:
        """Whether there is anything to do, so that more candidates than answers are needed."""
        return bool(self.diversify or self.cap or self.rules)

    @cached_property
    def caps(self) -> dict[str, int]:
        """The caps, by attribute."""
        return dict(parse_cap(text) for text in self.cap or [])

    @cached_property
    def read(self) -> Rules | None:
        """The rules."""
        return Rules.from_json(self.rules) if self.rules else None

    def deep(self, k: int, depth: int) -> int:
        """Say how many candidates are needed; reads what was given, so that faults are found before any work."""
        _ = self.caps, self.read
        return max(k, depth) if self.asked else k

    def apply(self, retriever: Retriever, found: Candidates, k: int) -> Candidates:
        """Give k of the candidates."""
        if self.diversify or self.caps:
            # Rules come last, and may take out what was picked: then others follow.
            found = retriever.diversify(
                found,
                None if self.read else k,
                method=cast(Method, self.diversify or "caps"),
                strength=0.3 if self.strength is None else self.strength,
                sharpness=1.0 if self.sharpness is None else self.sharpness,
                attribute=self.attribute,
                caps=self.caps,
            )
        return found.top(k) if self.read is None else retriever.apply_rules(found, self.read, k)


def parse_cap(text: str) -> tuple[str, int]:
    """Read ``attribute=n``.

    >>> parse_cap("genres=3")
    ('genres', 3)

    Raises:
        InputError: When it cannot be read.
    """
    name, equals, most = text.rpartition("=")
    if not equals or not name.strip() or not most.strip().isdecimal():
        raise InputError(f"cannot read the cap {text!r}; write it like genres=3")
    return name.strip(), int(most)
