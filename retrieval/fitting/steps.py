"""The steps of a `fit`: what is learned from which part of the log, in order, as far as it is known at the start."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from retrieval.fitting.fit_config import FitConfig

EARLY, WINDOWS = "the early part", "all windows"
BEFORE, EVERYTHING = "what came before", "everything"
JUDGED_FROM = 3  # windows before this one only train


class Step(NamedTuple):
    """How far learning is.

    Attributes:
        part: What is learned or made: ``"adapter"``, ``"behaviour"``, ``"serving"``, ``"profiles"``, ``"sources"``,
            ``"reranker"``, ``"index"``.
        past: What it is learned from: ``"the early part"``, ``"window 1 of 5"``, which is what came before that window,
            ``"all windows"``, ``"what came before"`` or ``"everything"``.
        done: Passes; or settings tried.
        total: At most so many; 0 when nobody knows.
        number: Which of the steps this is, from 1; 0 when nobody knows.
        steps: How many steps are expected. What does not help is left out later, so that numbers may be skipped.
    """

    part: str
    past: str
    done: int
    total: int
    number: int = 0
    steps: int = 0


Tell = Callable[[Step], None]


def expected_steps(
    config: FitConfig, profiles: bool = False, windows: int = 5, trained_before: bool = False
) -> list[tuple[str, str]]:
    """List the steps of a fit in which every part helps.

    Args:
        config: How to learn.
        profiles: Whether users have profiles.
        windows: Into how many windows the end of the log is also split.
        trained_before: Whether the published model was learned: the new one is compared with it.

    Returns:
        For each step its part and what it is learned from, as in `Step`.
    """
    behaviour, ranker = config.behaviour is not None, config.reranker is not None
    space = "behaviour" if behaviour else "adapter"
    steps: list[tuple[str, str]] = []
    if behaviour:
        steps += [("behaviour", EARLY), ("serving", EARLY), *([("profiles", EARLY)] if profiles else [])]
    elif config.adapter is not None:
        steps.append(("adapter", EARLY))
    learns_space = bool(steps)
    if behaviour and windows:
        steps += _in_windows(windows, ranker)
    if ranker:
        steps += [("sources", EARLY), ("reranker", EARLY)]
        if config.retrains_reranker:
            steps += [*([(space, BEFORE)] if learns_space else []), ("sources", BEFORE), ("reranker", BEFORE)]
    if trained_before and learns_space:
        steps.append((space, BEFORE))
    return steps + _on_everything([space] if learns_space else [], ranker)


def expected_refresh_steps(parts: Collection[str]) -> list[tuple[str, str]]:
    """List the steps of a refresh of some published parts, as of ``("behaviour", "reranker")``."""
    spaces, ranker = [part for part in ("adapter", "behaviour") if part in parts], "reranker" in parts
    before = [(part, BEFORE) for part in spaces] + ([("sources", BEFORE)] if ranker else [])
    return before + _on_everything(spaces, ranker)


def window_name(number: int, windows: int) -> str:
    """Name the part of the log before a window, counted from 1."""
    return f"window {number} of {windows}"


def _in_windows(windows: int, ranker: bool) -> list[tuple[str, str]]:
    """List the steps by which users who return are served; a head is trained from the third window on."""
    steps: list[tuple[str, str]] = []
    for number in range(1, windows + 1):
        steps.append(("behaviour", window_name(number, windows)))
        if ranker and windows >= JUDGED_FROM:
            steps.append(("sources", window_name(number, windows)))
            steps += [("reranker", window_name(number, windows))] if number >= JUDGED_FROM else []
    return [*steps, *([("reranker", WINDOWS)] if ranker and windows >= JUDGED_FROM else [])]


def _on_everything(spaces: Sequence[str], ranker: bool) -> list[tuple[str, str]]:
    steps = [(part, EVERYTHING) for part in spaces]
    return [*steps, *([("sources", EVERYTHING)] if ranker else []), ("index", EVERYTHING)]


class StepCounter:
    """Numbers the steps as they come.

    >>> counter = StepCounter([("behaviour", EARLY), ("sources", EARLY), ("index", EVERYTHING)])
    >>> counter.number("behaviour", EARLY), counter.number("adapter", EARLY), counter.number("index", EVERYTHING)
    ((1, 3), (2, 4), (4, 4))
    """

    def __init__(self, expected: Sequence[tuple[str, str]] = ()) -> None:
        self._steps, self._current = list(expected), -1

    def number(self, part: str, past: str) -> tuple[int, int]:
        """Give the number of a step that goes on, from 1, and how many are expected; one more if it was not."""
        step = (part, past)
        if self._current < 0 or self._steps[self._current] != step:
            following = self._current + 1
            if step in self._steps[following:]:
                self._current = self._steps.index(step, following)
            else:
                self._current = following
                self._steps.insert(following, step)
        return self._current + 1, len(self._steps)
