"""The steps of a `fit`: which part is trained on which part of the log, in order."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from retrieval.fitting.fit_config import FitConfig

TRAIN, WINDOWS = "train part", "all windows"
BEFORE_TEST, EVERYTHING = "all but the test part", "all interactions"
VALIDATED_FROM = 3  # earlier windows only train


class Step(NamedTuple):
    """Progress of a fit.

    Attributes:
        part: The part that is trained or built: ``"adapter"``, ``"behaviour"``, ``"serving"``, ``"profiles"``,
            ``"sources"``, ``"reranker"``, ``"index"``.
        trained_on: Its training data: ``"train part"``, ``"before window 1 of 5"``, ``"all windows"``,
            ``"all but the test part"`` or ``"all interactions"``.
        done: Number of passes, or of trials, so far.
        total: Maximum of ``done``; 0 when unknown.
        number: Number of this step, from 1; 0 when unknown.
        steps: Expected number of steps. Later steps of a part that does not help are skipped.
    """

    part: str
    trained_on: str
    done: int
    total: int
    number: int = 0
    steps: int = 0


def expected_steps(
    config: FitConfig, profiles: bool = False, windows: int = 5, trained_before: bool = False
) -> list[tuple[str, str]]:
    """List the steps of a fit in which every part helps.

    Args:
        config: The settings.
        profiles: Whether users have profiles.
        windows: Number of windows that the end of the log is also split into.
        trained_before: Whether the published model has learned parts, which the new ones are compared with.

    Returns:
        For each step its part and its training data, as in `Step`.
    """
    behaviour, ranker = config.behaviour is not None, config.reranker is not None
    space = "behaviour" if behaviour else "adapter"
    steps: list[tuple[str, str]] = []
    if behaviour:
        steps += [("behaviour", TRAIN), ("serving", TRAIN), *([("profiles", TRAIN)] if profiles else [])]
    elif config.adapter is not None:
        steps.append(("adapter", TRAIN))
    trains_space = bool(steps)
    if ranker:
        steps += [("sources", TRAIN), ("reranker", TRAIN)]
        if config.retrains_reranker:
            steps += [
                *([(space, BEFORE_TEST)] if trains_space else []),
                ("sources", BEFORE_TEST),
                ("reranker", BEFORE_TEST),
            ]
    if behaviour and windows:
        steps += _in_windows(windows, ranker)
    if trained_before and trains_space:
        steps.append((space, BEFORE_TEST))
    return steps + _on_everything([space] if trains_space else [], ranker)


def expected_refresh_steps(parts: Collection[str]) -> list[tuple[str, str]]:
    """List the steps of a refresh of some published parts, such as ``("behaviour", "reranker")``."""
    spaces, ranker = [part for part in ("adapter", "behaviour") if part in parts], "reranker" in parts
    before = [(part, BEFORE_TEST) for part in spaces] + ([("sources", BEFORE_TEST)] if ranker else [])
    return before + _on_everything(spaces, ranker)


def window_name(number: int, windows: int) -> str:
    """Name the part of the log before a window, counted from 1."""
    return f"before window {number} of {windows}"


def _in_windows(windows: int, ranker: bool) -> list[tuple[str, str]]:
    """List the steps that train for returning users; a head is trained from the third window on.

    Without a head the first window selects query weights, and there are no others.
    """
    if not ranker or windows < VALIDATED_FROM:
        return [("behaviour", window_name(1, windows))]
    steps: list[tuple[str, str]] = []
    for number in range(1, windows + 1):
        steps.append(("behaviour", window_name(number, windows)))
        steps.append(("sources", window_name(number, windows)))
        steps += [("reranker", window_name(number, windows))] if number >= VALIDATED_FROM else []
    return [*steps, ("reranker", WINDOWS)]


def _on_everything(spaces: Sequence[str], ranker: bool) -> list[tuple[str, str]]:
    steps = [(part, EVERYTHING) for part in spaces]
    return [*steps, *([("sources", EVERYTHING)] if ranker else []), ("index", EVERYTHING)]


class StepCounter:
    """Numbers the steps in the order in which they start.

    >>> counter = StepCounter([("behaviour", TRAIN), ("sources", TRAIN), ("index", EVERYTHING)])
    >>> counter.number("behaviour", TRAIN), counter.number("adapter", TRAIN), counter.number("index", EVERYTHING)
    ((1, 3), (2, 4), (4, 4))
    """

    def __init__(self, expected: Sequence[tuple[str, str]] = ()) -> None:
        self._steps, self._current = list(expected), -1

    def number(self, part: str, trained_on: str) -> tuple[int, int]:
        """Give the number of the current step, from 1, and the expected number of steps; a new step adds one."""
        step = (part, trained_on)
        if self._current < 0 or self._steps[self._current] != step:
            following = self._current + 1
            if step in self._steps[following:]:
                self._current = self._steps.index(step, following)
            else:
                self._current = following
                self._steps.insert(following, step)
        return self._current + 1, len(self._steps)
