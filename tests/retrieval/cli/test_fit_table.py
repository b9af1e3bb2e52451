"""The table that `commonspace fit` ends with."""

from dataclasses import replace

import pytest

from retrieval.cli.display.fit_progress import show_report
from retrieval.fitting.report import FitReport
from retrieval.fitting.selection.validation import Gain


def test_the_table_of_fit_has_a_row_for_the_head_of_users_who_return(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    gain = Gain(200, 0.1, 0.2, 0.1, 0.05, 0.2)
    report = FitReport("gen-1", ("behaviour", "reranker"), 200, {"reranker": 0.3}, {}, in_time=gain)
    show_report("fit", report)
    row = next(line for line in capsys.readouterr().out.splitlines() if "reranker for returning users" in line)
    assert "0.2000" in row
    for left in (replace(report, published=()), replace(report, notes={"returning users": "ordered by retrieval"})):
        show_report("fit", left)
        assert "reranker for returning users" not in capsys.readouterr().out
