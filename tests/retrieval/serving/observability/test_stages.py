"""Each moment of a request is of one stage: stages add up, whatever is within them and whenever the request ends."""

import pytest

from retrieval.serving.engine import stages as module
from retrieval.serving.engine.request import CURRENT, RequestContext, stage
from retrieval.serving.engine.stages import StageSpan, StageTimes


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_stages_within_stages_are_counted_once(clock: Clock) -> None:
    times = StageTimes(0.0)
    for clock.now, step in (
        (1.0, "queue"), (3.0, None), (4.0, "recommend"), (6.0, "history"), (9.0, None), (9.5, "history"), (9.75, None),
        (10.0, None), (11.0, "rerank"), (12.0, None),
    ):  # fmt: skip
        times.leave() if step is None else times.enter(step)  # type: ignore[arg-type]
    clock.now = 16.0
    assert times.close() == 16.0
    assert times.seconds == {"http": 7.0, "queue": 2.0, "recommend": 2.75, "history": 3.25, "rerank": 1.0}
    assert sum(times.seconds.values()) == 16.0
    assert times.spans == [
        StageSpan("queue", 1.0, 3.0, None),
        StageSpan("recommend", 4.0, 10.0, None),
        StageSpan("history", 6.0, 9.0, 1),
        StageSpan("history", 9.5, 9.75, 1),
        StageSpan("rerank", 11.0, 12.0, None),
    ]


def test_what_is_open_ends_with_the_request_and_what_comes_later_is_not_of_it(clock: Clock) -> None:
    times = StageTimes(0.0)
    times.enter("other")
    clock.now = 2.0
    times.enter("encode")
    clock.now = 5.0
    assert times.close() == 5.0
    clock.now = 9.0  # the thread works on
    times.leave()
    times.enter("search")
    times.leave()
    times.leave()
    assert times.close() == 5.0
    assert times.seconds == {"http": 0.0, "other": 2.0, "encode": 3.0}
    assert times.spans == [StageSpan("other", 0.0, 5.0, None), StageSpan("encode", 2.0, 5.0, 0)]


def test_a_stage_is_of_the_current_request_also_where_it_fails() -> None:
    with stage("search"):  # of none
        pass
    request = RequestContext.begin(1.0)
    token = CURRENT.set(request)
    with pytest.raises(KeyError, match="gone"), stage("search"):
        raise KeyError("gone")
    CURRENT.reset(token)
    request.stages.close()
    assert [(span.name, span.end < request.stages.end) for span in request.stages.spans] == [("search", True)]  # type: ignore[operator]
