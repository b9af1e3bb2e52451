"""The Python of docs/how-to/search.md runs on a part of the sample, and what it prints adds up."""

import re
from pathlib import Path

import pytest

from indexing import Catalogue, build_bundle, load_encoder
from retrieval import Candidates
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "search.md").read_text()


@pytest.mark.slow
def test_the_example_runs(smaller_sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_bundle(Catalogue.from_parquet(smaller_sample), load_encoder("pocket"), "bundles/sample")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "search.md", "exec"), names)  # noqa: S102 - the page is ours
    found = names["found"]
    assert isinstance(found, Candidates)
    assert [len(hits) for hits in found] == [3, 3]
    parts = [line.rsplit(" ", 2) for line in capsys.readouterr().out.splitlines()]
    assert [(label, float(weight)) for label, weight, _ in parts] == [
        ("item:mug", 1.0),
        ("'a fruit'", 1.0),
        ("'a cup of coffee'", -0.5),
    ]
    # Each is rounded to four digits.
    assert sum(float(score) for *_, score in parts) == pytest.approx(found[0][0].score, abs=2e-4)
