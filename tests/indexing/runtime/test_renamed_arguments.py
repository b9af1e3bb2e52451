"""Keyword arguments by their former names: taken with a warning, and refused beside the new name."""

import pytest

import indexing
from indexing.runtime.arguments import renamed_arguments


@renamed_arguments(least="min_relevance", each="per_source")
def called(first: int, *, min_relevance: float = 0.0, per_source: int = 1) -> tuple[int, float, int]:
    """Give back what it was called with."""
    return first, min_relevance, per_source


def test_new_names_are_taken_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    assert called(3, min_relevance=2.5, per_source=7) == (3, 2.5, 7)
    assert not recwarn.list
    assert (called.__name__, called.__doc__) == ("called", "Give back what it was called with.")


def test_a_former_name_is_taken_with_a_warning_where_it_was_called() -> None:
    with pytest.warns(FutureWarning, match="least is called min_relevance; the next version takes that alone") as found:
        assert called(3, least=2.5) == (3, 2.5, 1)  # type: ignore[call-arg]
    assert found[0].filename == __file__
    with pytest.warns(FutureWarning) as both:
        assert called(3, each=7, least=2.5) == (3, 2.5, 7)  # type: ignore[call-arg]
    assert [str(warning.message).split()[0] for warning in both] == ["least", "each"]


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match="least is the former name of min_relevance, and both are given: leave least"):
        called(3, least=2.5, min_relevance=2.5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("former", "current"),
    [("FilmLimits", "VideoLimits"), ("PictureLimits", "ImageLimits"), ("SoundLimits", "AudioLimits")],
)
def test_former_names_of_the_face_are_the_new_classes(former: str, current: str) -> None:
    with pytest.warns(FutureWarning, match=f"indexing.{former} is called {current}"):
        assert getattr(indexing, former) is getattr(indexing, current)
