"""Rules as JSON: a list of objects, each with ``rule`` and the fields of that rule."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from indexing.errors import InputError
from indexing.media.files import no_file
from indexing.runtime.arguments import check_path, distinct_keys
from retrieval.candidates import Candidates
from retrieval.postprocess.rules.apply import ShownImpressions, applied
from retrieval.postprocess.rules.rule_types import (
    Boost,
    Bury,
    Exclude,
    FrequencyCap,
    Fresh,
    Pin,
    Rotate,
    Rule,
    ShownRule,
)
from retrieval.postprocess.rules.ruled_candidates import Ruled

KINDS: dict[str, type[Rule]] = {
    "pin": Pin,
    "boost": Boost,
    "bury": Bury,
    "exclude": Exclude,
    "fresh": Fresh,
    "frequency_cap": FrequencyCap,
    "rotate": Rotate,
}
OF_SHOWN = tuple(name for name, kind in KINDS.items() if kind in get_args(ShownRule))
"""Names of the kinds that count what was shown to a user."""


@dataclass(frozen=True)
class Rules:
    """Business rules, applied last.

    >>> Rules.from_list([{"rule": "boost", "where": "category = food", "by": 0.5}]).rules
    (Boost(where='category = food', by=0.5, name=''),)

    Attributes:
        rules: In any order; see `retrieval.postprocess.rules.apply.applied`.
    """

    rules: Sequence[Rule] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        if wrong := [rule for rule in self.rules if not isinstance(rule, tuple(KINDS.values()))]:
            kinds = [kind.__name__ for kind in KINDS.values()]
            raise InputError(f"{repr(wrong[0])[:80]} is no rule; make it with one of {kinds}")

    @classmethod
    def from_json(cls, path: Path | str) -> "Rules":
        """Read rules from a file.

        Raises:
            InputError: When it cannot be read; names the rule.
        """
        path = check_path(path)
        content = read_json(path, "the rules")
        try:
            return cls.from_list(content)
        except InputError as error:
            named = InputError(f"{path}: {error}")
            named.for_terminal, named.for_service = f"{path}: {error.for_terminal}", f"{path}: {error.for_service}"
            raise named from error

    @classmethod
    def from_list(cls, content: Any) -> "Rules":  # noqa: ANN401 - what JSON held
        """Make rules of the content of a JSON file.

        Raises:
            InputError: When it is no list of rules.
        """
        if isinstance(content, dict) and (keys := content.keys() & {"diversify", "rules"}):
            raise InputError(
                f"rules are a list, and this is an object with {min(keys)!r}",
                python="give the list under 'rules'",
                cli="give the file with --postprocess",
                http="give the list alone",
            )
        if not isinstance(content, list):
            raise InputError(f"rules are a list, not {type(content).__name__}: {_EXAMPLE}")
        return cls(tuple(_rule(number, value) for number, value in enumerate(content, start=1)))

    def apply(self, candidates: Candidates, attributes: pa.Table, shown: ShownImpressions | None = None) -> Ruled:
        """Apply the rules to candidates; see `retrieval.postprocess.rules.apply.applied`."""
        return applied(candidates, self.rules, attributes, shown)


def read_json(path: Path, name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Read a JSON file in which no object has a key twice.

    Args:
        path: The file.
        name: What it holds, for messages, as ``"the rules"``.

    Raises:
        InputError: When there is no such file, it is no JSON, or a key is there twice.
    """
    if problem := no_file(path):
        raise InputError(problem)
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=distinct_keys)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{name} in {path} cannot be read: {error}") from error


_EXAMPLE = '[{"rule": "pin", "item_ids": ["mug-1"], "at": 1}]'


def _rule(number: int, value: Any) -> Rule:  # noqa: ANN401 - what JSON held
    if not isinstance(value, dict) or value.get("rule") not in list(KINDS):
        prefix = f"rule {number} is {repr(value)[:80]}"
        raise InputError(f"{prefix}; give an object with 'rule', one of {list(KINDS)}: {_EXAMPLE}")
    name = value["rule"]
    values = {key: value for key, value in value.items() if key != "rule"}
    rule_fields = fields(KINDS[name])
    prefix = f"rule {number} ({name})"
    if unknown := sorted(set(values) - {field.name for field in rule_fields}):
        raise InputError(f"{prefix} has {unknown}; there are {[field.name for field in rule_fields]}")
    required = [field.name for field in rule_fields if field.default is MISSING]
    if missing := [name for name in required if name not in values]:
        raise InputError(f"{prefix} lacks {missing}")
    if not isinstance(values.get("where", ""), str):
        raise InputError(f"{prefix}: where is {repr(values['where'])[:80]}; give a filter as text, as 'year >= 1990'")
    if not isinstance(values.get("item_ids", []), list):
        raise InputError(f"{prefix}: item_ids is {repr(values['item_ids'])[:80]}; give a list of strings, even of one")
    if not_text := [key for key in ("name", "column") if not isinstance(values.get(key, ""), str)]:
        raise InputError(f"{prefix}: {not_text[0]} is {repr(values[not_text[0]])[:80]}; give a text")
    try:
        return KINDS[name](**values)
    except InputError as error:
        raise InputError(f"{prefix}: {error}") from error
