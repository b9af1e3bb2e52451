"""A demo that shows nothing says so; its main job is in `tests/docs/test_whole_sample.py`."""

from pathlib import Path

import pytest

from scripts import quickstart


def test_a_demo_that_learns_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        published, refused = (), "nothing helps"

    monkeypatch.setattr(quickstart, "fit", lambda *_: Nothing())
    with pytest.raises(SystemExit, match="nothing was published: nothing helps"):
        next(iter(quickstart.recommendations(tmp_path, None, {})))  # type: ignore[arg-type]
