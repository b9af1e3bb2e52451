"""`help` of each verb of `Retriever` describes its arguments, and nothing that is no argument of any."""

import inspect
import re

import pytest

from retrieval import Retriever
from retrieval.retriever.queries.documented import ARGUMENTS, documented

VERBS = [
    name
    for name, verb in inspect.getmembers(Retriever, inspect.isfunction)
    if not name.startswith("_") and name not in {"latest"}
]
ONCE = {"group_by", "duplicates", "min_similarity"}


def parameters(verb: str) -> set[str]:
    names = set(inspect.signature(getattr(Retriever, verb)).parameters) - {"self"}
    return names - {"once"} | (ONCE if "once" in names else set())


@pytest.mark.parametrize("verb", VERBS)
def test_each_argument_of_a_verb_is_described_once(verb: str) -> None:
    text = inspect.getdoc(getattr(Retriever, verb)) or ""
    described = text.partition("Args:\n")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^    (\w+): \S", described, re.MULTILINE)) == sorted(parameters(verb))
    assert "\nRaises:\n    UnknownItemError: When" in text
    assert max(map(len, text.splitlines())) <= 120


def test_nothing_is_described_that_no_verb_takes() -> None:
    taken = {name for verb in VERBS for name in parameters(verb)}
    own = {f"{verb}.{name}" for verb in VERBS for name in parameters(verb)}
    assert {name for name in ARGUMENTS if name not in taken | own} == set()


def test_an_argument_without_a_description_is_an_error() -> None:
    with pytest.raises(KeyError, match="colour"):

        @documented
        def paint(colour: str) -> None:
            """Paint."""
