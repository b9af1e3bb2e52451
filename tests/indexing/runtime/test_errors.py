"""An error says what to do in the words of whoever reads it: Python's, or the command line's."""

import copy

import pytest

from indexing import errors
from indexing.errors import CommonspaceError, InputError, MissingExtraError, UnknownItemError

NAMED = [getattr(errors, name) for name in dir(errors) if name.endswith("Error")]
KINDS = [one for one in NAMED if issubclass(one, CommonspaceError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_way_out_in_both_words(kind: type[CommonspaceError]) -> None:
    error = kind("2 items are there", python="use upsert", cli="use --upsert")
    assert str(error) == "2 items are there; use upsert"
    assert error.for_terminal == "2 items are there; use --upsert"


def test_an_error_without_words_of_its_own_for_the_command_line_shows_its_message() -> None:
    assert InputError("the file is empty").for_terminal == "the file is empty"
    assert InputError("no column", python="name it").for_terminal == "no column; name it"
    assert str(InputError("no column", cli="name it with --id-column")) == "no column"
    assert InputError().for_terminal == ""


@pytest.mark.parametrize("kind", [UnknownItemError, MissingExtraError])
def test_both_words_survive_the_way_that_processes_hand_errors_on(kind: type[CommonspaceError]) -> None:
    error = copy.copy(kind("gone", python="missing_ok=True", cli="--missing-ok"))  # by __reduce__, as between processes
    assert (str(error), error.for_terminal) == ("gone; missing_ok=True", "gone; --missing-ok")


def test_words_of_the_service_are_those_of_python_where_there_are_no_others() -> None:
    error = InputError("2 items are there", python="use upsert", http='use "mode": "upsert"')
    assert error.for_service == '2 items are there; use "mode": "upsert"'
    assert copy.copy(error).for_service == error.for_service
    assert InputError("2 items are there", python="use upsert").for_service == "2 items are there; use upsert"
    assert InputError("the file is empty").for_service == "the file is empty"
