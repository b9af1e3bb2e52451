"""Options of postprocessing, in one place: what is shown once, `--diversify`, `--rules`, and `--postprocess` for all.

The file of `--postprocess` is a JSON object with the keys ``diversify``, an object whose keys are arguments of
`Retriever.diversify`, ``rules``, the list that `Rules.from_list` reads, and ``collapse``, an object whose keys are
arguments of `Retriever.collapse`.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from indexing.errors import InputError
from retrieval.cli.display.terminal import UsageError, note
from retrieval.cli.options.log import open_impressions
from retrieval.interactions.impressions import Impressions
from retrieval.postprocess.diversify import METHODS
from retrieval.postprocess.duplicates import MIN_SIMILARITY, Collapse
from retrieval.postprocess.rules import FrequencyCap, Rotate, Rules
from retrieval.postprocess.rules.from_json import read_json
from retrieval.retriever.postprocessing import Postprocessing

POSTPROCESSING = "Postprocessing"
METHOD = "mmr"


def _strength(text: str) -> float:
    """Read the value of `--diversify`."""
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not 0 <= strength <= 1:
        raise typer.BadParameter(
            f"{text!r} is no strength; give a number from 0 to 1, like 0.3. Methods are named in --postprocess FILE: "
            f'{{"diversify": {{"method": "{METHOD}"}}}}.'
        )
    return strength


DiversifyStrength = Annotated[
    float | None,
    typer.Option(
        "--diversify",
        parser=_strength,
        metavar="STRENGTH",
        rich_help_panel=POSTPROCESSING,
        help="Diversify the answers by MMR: 0 counts relevance alone, 1 diversity alone.",
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option("--rules", rich_help_panel=POSTPROCESSING, help="JSON file of business rules, applied last."),
]
ImpressionsFile = Annotated[
    str | None,
    typer.Option(
        "--impressions",
        rich_help_panel=POSTPROCESSING,
        help="A .parquet, .csv or .tsv file, or a URL of a database, of shown items: user, item, position and time; "
        "read by the rules frequency_cap and rotate.",
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="COLUMN",
        rich_help_panel=POSTPROCESSING,
        help="Attribute whose value variants share, like parent_id: of each group the best-ranked is shown; doctor "
        "lists the groups.",
    ),
]
CollapseDuplicates = Annotated[
    bool,
    typer.Option(
        "--collapse-duplicates",
        rich_help_panel=POSTPROCESSING,
        help=f"Show near-duplicates once: items whose cosine is at least {MIN_SIMILARITY}.",
    ),
]
PostprocessFile = Annotated[
    Path | None,
    typer.Option(
        "--postprocess",
        rich_help_panel=POSTPROCESSING,
        help="JSON file with all settings of diversify, rules and collapse; see docs/how-to/diversify.md.",
    ),
]


def _fraction(value: object) -> bool:
    return _number(value) and 0 <= value <= 1  # type: ignore[operator]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


_Check = tuple[Callable[[object], bool], str]
_DIVERSIFY: Mapping[str, _Check] = {
    "method": (lambda value: value in METHODS, f"one of {list(METHODS)}"),
    "strength": (_fraction, "a number from 0, relevance alone, to 1, diversity alone"),
    "sharpness": (lambda value: _number(value) and value > 0, "a number above 0"),  # type: ignore[operator]
    "attribute": (lambda value: isinstance(value, str) and bool(value), "the name of an attribute"),
    "caps": (_counts, 'an object of attributes and whole numbers from 1, like {"genres": 3}'),
    "max_similarity": (_fraction, "a cosine from 0 to 1"),
    "page": (_count, "a whole number from 1"),
}
"""By key what its value has to be."""
_RENAMED = {"apart": "max_similarity"}
"""By the former key the new one."""
_COLLAPSE: Mapping[str, _Check] = {
    "group_by": _DIVERSIFY["attribute"],
    "min_similarity": (lambda value: _fraction(value) and bool(value), "a cosine above 0 and up to 1"),
}


@dataclass(frozen=True)
class PostprocessOptions:
    """What happens to answers after ranking.

    Attributes:
        diversify: The strength of MMR; None diversifies nothing.
        rules: A file of rules.
        group_by: The attribute that variants share; None groups nothing.
        collapse_duplicates: Show near-duplicates once.
        postprocess: A file of settings of all of these.
        impressions: A file of what was shown to users.
    """

    diversify: DiversifyStrength = None
    rules: RulesFile = None
    group_by: GroupBy = None
    collapse_duplicates: CollapseDuplicates = False
    postprocess: PostprocessFile = None
    impressions: ImpressionsFile = None

    def read(self, *, users: bool = False) -> Postprocessing:
        """Read the options and their files, so that faults are found before any work.

        Args:
            users: Whether answers are for users with names, whose impressions rules can read.

        Raises:
            UsageError: When an option and the file of `--postprocess` say the same thing, or impressions, rules and
                users do not go together.
            InputError: When a file cannot be read.
        """
        settings = {} if self.postprocess is None else read_settings(self.postprocess)
        similarity = MIN_SIMILARITY if self.collapse_duplicates else None
        options: list[tuple[str, str, object]] = [
            ("diversify", "diversify", self.diversify),
            ("rules", "rules", self.rules),
            ("collapse", "group-by", self.group_by),
            ("collapse", "collapse-duplicates", similarity),
        ]
        for key, option, given in options:
            if given is not None and key in settings:
                raise UsageError(f"{self.postprocess} has {key!r}, too; leave out --{option}, or the key")
        if self.diversify is not None:
            settings["diversify"] = {"method": METHOD, "strength": self.diversify}
        if self.rules is not None:
            settings["rules"] = Rules.from_json(self.rules)
        diversify = settings.get("diversify")
        arguments = {} if diversify is None else {**diversify, "diversify": diversify.get("method", METHOD)}
        arguments.pop("method", None)
        rules = settings.get("rules")
        collapse = settings.get("collapse", Collapse(self.group_by, similarity))
        return Postprocessing(
            **arguments, rules=rules, collapse=collapse, impressions=self._impressions(rules, users=users)
        )

    def _impressions(self, rules: Rules | None, *, users: bool) -> Impressions | None:
        """Read the impressions, which some rule must need."""
        needed = [str(rule) for rule in (rules.rules if rules else ()) if isinstance(rule, FrequencyCap | Rotate)]
        if needed and not users:
            raise UsageError(
                f"the rule {needed[0]!r} is for users with names: use it in recommend with --interactions or --users, "
                "or in rerank"
            )
        if self.impressions is None:
            if needed:
                raise UsageError(f"the rule {needed[0]!r} reads what was shown to each user; give --impressions FILE")
            return None
        if not needed:
            raise UsageError("--impressions is read by the rules frequency_cap and rotate; give one with --rules")
        return open_impressions(self.impressions)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a file of `--postprocess`: settings of ``diversify`` as they are, ``rules`` as `Rules`.

    Raises:
        InputError: When it cannot be read, naming the key at fault and what may stand there.
    """
    content = read_json(path, "the settings")
    if isinstance(content, list):
        raise InputError(f"{path} is a list, as of rules alone; give such a file with --rules")
    try:
        settings = dict(_keys(content, "the file", ("diversify", "rules", "collapse")))
        if "diversify" in settings:
            settings["diversify"] = _read_diversify(settings["diversify"])
        if "rules" in settings:
            settings["rules"] = Rules.from_list(settings["rules"])
        if "collapse" in settings:
            settings["collapse"] = Collapse(**_checked_keys(settings["collapse"], "collapse", _COLLAPSE))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return settings


def _checked_keys(given: object, what: str, values: Mapping[str, _Check]) -> dict[str, Any]:
    settings = _keys(given, what, tuple(values))
    for key, value in settings.items():
        is_valid, expected = values[key]
        if not is_valid(value):
            raise InputError(f"{what}.{key} is {json.dumps(value)[:80]}; give {expected}")
    return settings


def _read_diversify(given: object) -> dict[str, Any]:
    if isinstance(given, dict) and (former := [key for key in _RENAMED if key in given and _RENAMED[key] not in given]):
        note(f"diversify.{former[0]} is called {_RENAMED[former[0]]} now; the next version takes the new name alone")
        given = {_RENAMED.get(key, key): value for key, value in given.items()}
    settings = _checked_keys(given, "diversify", _DIVERSIFY)
    if settings.get("method") == "calibrated" and "attribute" not in settings:
        raise InputError("diversify.method is calibrated, which needs an attribute; give diversify.attribute, too")
    return settings


def _keys(value: object, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name} holds {json.dumps(value)[:80]}; give an object with some of the keys {list(known)}")
    if unknown := sorted(value.keys() - set(known)):
        raise InputError(f"{name} has the unknown key {unknown[0]!r}; the keys are {list(known)}")
    return value
