"""The Python of docs/how-to/filters.md runs in order and prints what it should, and its command reads its filter."""

import re

import pyarrow as pa
import pytest

from retrieval.filters import field, parse_filter
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "filters.md").read_text()


def test_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "filters.md", "exec"), names)  # noqa: S102 - the page is ours
    assert capsys.readouterr().out.splitlines() == [
        "[False, True, False, True]",
        "[False, True, False, True]",
        "[False, True, False, True]",
        "[True, True, False, False]",
        "[False, True, False, False]",
        "[False, True, False, True]",
        "[False, True, False, False]",
        'colour in ("black and white") or year < 2000',
        "cannot read the filter at character 18: there is no attribute 'yaer'; did you mean one of ['year']?",
        "    colour = red and yaer > 2000",
        "                     ^",
        "cannot apply '>=' '20' to 'price' of type string: '20' is a number, and 'call us' (item 'lamp') is none: the "
        "attribute is text, by whose letters 100 comes before 20; mend such values and build again, or use =, in or "
        "contains",
        "[False, True]",
    ]


def test_the_filter_of_the_command_is_read() -> None:
    (text,) = re.findall(r'--where "(.*)"', PAGE)
    shop = pa.table({"year": [1], "colour": ["red"], "tags": [["a"]]})
    colours = field("colour").is_in(["red", "blue"])
    assert parse_filter(text, shop) == (field("year") >= 1990) & (colours | ~field("tags").contains("sale"))
