"""`--at`: what is a time on the command line."""

import time

import pytest
import typer

from retrieval.cli.options.users import _seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-12-04", 1_701_648_000),
        ("2023-12-04 22:13:20", 1_701_728_000),
        ("2023-12-04T22:13:20Z", 1_701_728_000),
        ("2023-12-04T23:13:20+01:00", 1_701_728_000),
        ("1701728000", 1_701_728_000),
        ("1701728000000", 1_701_728_000),
        ("20231204", 1_701_648_000),
    ],
)
def test_times_are_read_as_those_of_a_log(text: str, seconds: int) -> None:
    assert _seconds(text) == seconds


def test_now_is_the_clock_and_what_is_no_time_is_refused() -> None:
    before = int(time.time())
    assert before <= _seconds("now") <= int(time.time())
    for wrong in ("yesterday", "", "-5"):
        with pytest.raises(typer.BadParameter, match=f"--at has {wrong!r}, which cannot be read as a time"):
            _seconds(wrong)
