"""A warning names the line of whoever called this project, however deep in it the warning is given."""

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import indexing
from retrieval import Interactions, Retriever
from tests.toy import ToyEncoder

DEEP = """
import contextlib
import functools

from indexing.runtime.warn import warn

class Lazy:
    @functools.cached_property
    def value(self):
        with self.within():
            return 3

    @contextlib.contextmanager
    def within(self):
        warn("deep", UserWarning)
        yield

def called():
    return (lambda: Lazy().value)()
"""
LOG = pa.table({"user": ["ann", "ann", "bob"], "item": ["red-mug", "gone", "red-shoe"], "time": [1, 2, 3]})


def test_frames_of_the_packages_and_of_what_wraps_their_functions_are_skipped() -> None:
    deep = types.ModuleType("deep")
    code = compile(DEEP, str(Path(indexing.__file__).parent / "deep.py"), "exec")
    exec(code, deep.__dict__)  # noqa: S102 - that above
    line = sys._getframe().f_lineno + 2
    with pytest.warns(UserWarning, match="deep") as found:
        deep.called()
    assert (found[0].filename, found[0].lineno) == (__file__, line)


@pytest.fixture(scope="module")
def retriever(toy_bundle: Path) -> Retriever:
    return Retriever.open(toy_bundle, ToyEncoder())


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize(("ask", "message"), [
    (lambda retriever: retriever.search_texts(["red"], where=["title = none"]), "no item has"),
    (lambda retriever: retriever.recommend(Interactions.from_arrow(LOG)), "items that are not in the bundle"),
    (lambda retriever: retriever.recommend([["red-mug"], []]), "users have an empty history"),
    (lambda retriever: retriever.recommend([["red-mug"]], context={"device": "tv"}), "the context has 'device'"),
    (lambda retriever: retriever.recommend(Interactions.from_arrow(LOG), times=2), "before their last interaction"),
    (lambda _: indexing.PictureLimits, "PictureLimits is called ImageLimits"),
])  # fmt: skip
def test_warnings_of_the_verbs_are_at_the_line_that_asks(
    retriever: Retriever, ask: Callable[[Retriever], object], message: str
) -> None:
    with pytest.warns(Warning, match=message) as found:
        ask(retriever)
    assert {warning.filename for warning in found} == {__file__}
    assert {warning.lineno for warning in found} == {ask.__code__.co_firstlineno}
