"""Metrics in the form of Prometheus, of one service; see docs/reference/metrics.md."""

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

from retrieval.candidates import Source
from retrieval.interactions.event_types import USUAL_TYPES
from retrieval.serving.engine.admission import Kind
from retrieval.serving.engine.metering import REASONS, Problem, Reason
from retrieval.serving.engine.request import RequestContext
from retrieval.serving.engine.stages import STAGES, Stage
from retrieval.serving.observability.workers import collected_workers, workers_folder

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *SECONDS)
LAG_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0)
IMPERSONAL: tuple[Source, ...] = ("trending", "popular", "newest")
"""Sources of recommended items that know nothing of the user."""

MOST_OWN_TYPES = 20  # types of events of a table of one's own that have a label
OTHER_TYPE = "other"
_USUAL = ("impression", *USUAL_TYPES.types)
_GONE = -1.0  # what a gauge has of a label that is no more, as several processes cannot remove one; never given out


class Metrics:
    """The metrics of one service, in a registry of its own; a `Meter`.

    Where several processes share a port, each writes to the folder that they share, and whichever is asked gives the
    sums over all.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._folder = workers_folder()
        if self._folder is None:  # else it would be of one of several
            ProcessCollector(registry=self._registry)
        self._make_histograms()
        self._make_counters()
        self._make_gauges()
        self._make_gauges_of_the_bundle()

    def _make_histograms(self) -> None:
        of = self._registry
        self._requests = Histogram(
            "commonspace_request_seconds",
            "Seconds from the arrival of a request to the end of its answer.",
            ["route", "status"],
            registry=of,
            buckets=SECONDS,
        )
        stages = Histogram(
            "commonspace_stage_seconds",
            "Seconds of a request in a stage, without stages within it; all stages of a request add up to it.",
            ["stage"],
            registry=of,
            buckets=STAGE_SECONDS,
        )
        self._stages: dict[Stage, Histogram] = {name: stages.labels(name) for name in STAGES}
        self._lag = Histogram(
            "commonspace_event_lag_seconds",
            "Seconds from the time of a live event until it was written.",
            registry=of,
            buckets=LAG_SECONDS,
        )

    def _make_counters(self) -> None:
        of = self._registry
        rejected = Counter("commonspace_rejected_total", "Requests that were refused.", ["reason"], registry=of)
        self._rejected: dict[Reason, Counter] = {reason: rejected.labels(reason) for reason in REASONS}
        self._events = Counter(
            "commonspace_events_total", "Live events that were written, repeated ones with them.", ["type"], registry=of
        )
        self._event_types = {name: self._events.labels(name) for name in (*_USUAL, OTHER_TYPE)}
        self._event_log_errors = Counter(
            "commonspace_event_log_errors_total",
            "Requests for which the log of live events could not be written or read.",
            registry=of,
        )
        fallback = Counter(
            "commonspace_fallback_total",
            "Recommended items that are due to nothing that is known of the user.",
            ["source"],
            registry=of,
        )
        self._fallback = {source: fallback.labels(source) for source in IMPERSONAL}

    def _make_gauges(self) -> None:
        of = self._registry
        depth = Gauge(
            "commonspace_queue_depth",
            "Queries that wait for their turn.",
            ["kind"],
            registry=of,
            multiprocess_mode="livesum",
        )
        self._depth = {kind: depth.labels(kind) for kind in get_args(Kind)}
        degraded = Gauge(
            "commonspace_degraded",
            "1 while the bundle cannot be followed, its recall is low, scenarios cannot answer, or live events fail.",
            ["reason"],
            registry=of,
            multiprocess_mode="livemax",
        )
        self._degraded: dict[Problem, Gauge] = {reason: degraded.labels(reason) for reason in get_args(Problem)}

    def _make_gauges_of_the_bundle(self) -> None:
        of = self._registry
        self._generation = Gauge(
            "commonspace_generation_info",
            "1 for the generation of the bundle that is served.",
            ["generation"],
            registry=of,
            multiprocess_mode="livemax",
        )
        self._change = Gauge(
            "commonspace_last_change",
            "Number of the last change of the bundle that is served, 0 for none.",
            registry=of,
            multiprocess_mode="livemin",
        )
        self._learned_until = Gauge(
            "commonspace_learned_until_timestamp_seconds",
            "When the last interaction was that what is served learned from, since 1970; 0 where that is not known.",
            registry=of,
            multiprocess_mode="livemin",
        )
        self._recall = Gauge(
            "commonspace_index_recall",
            "Recall of the index on the queries stored at build.",
            ["kind"],
            registry=of,
            multiprocess_mode="livemax",
        )
        self._served: tuple[str, ...] = ()
        self._kinds: tuple[str, ...] = ()

    def answered(self, request: RequestContext, route: str, status: int) -> None:
        """Count a request and the seconds of its stages."""
        self._requests.labels(route, str(status)).observe(request.stages.close())
        for name, seconds in request.stages.seconds.items():
            self._stages[name].observe(seconds)

    def rejected(self, reason: Reason) -> None:
        """Count a request that was refused."""
        self._rejected[reason].inc()

    def waiting(self, kind: str, count: int) -> None:
        """Say how many queries of a kind of work wait now."""
        self._depth[kind].set(count)

    def event(self, type: str, lag: float) -> None:
        """Count a live event that was written, and the seconds from its time until then."""
        counter = self._event_types.get(type)
        if counter is None and len(self._event_types) <= len(_USUAL) + MOST_OWN_TYPES:
            counter = self._event_types[type] = self._events.labels(type)
        (counter or self._event_types[OTHER_TYPE]).inc()
        self._lag.observe(lag)

    def event_log_failed(self) -> None:
        """Count a request for which the log of live events could not be written or read."""
        self._event_log_errors.inc()

    def fallback(self, source: Source, count: int) -> None:
        """Count hits of recommendations that know nothing of the user."""
        self._fallback[source].inc(count)

    def serving(
        self,
        generation: str,
        change: int,
        recall: Mapping[str, float],
        problems: Mapping[Problem, bool],
        learned_until: float,
    ) -> None:
        """Say which state of the bundle is served now; see `Meter.serving`."""
        self._served = self._replaced(self._generation, self._served, {generation: 1.0})
        self._kinds = self._replaced(self._recall, self._kinds, recall)
        self._change.set(change)
        self._learned_until.set(learned_until)
        for reason, gauge in self._degraded.items():
            gauge.set(problems[reason])

    def _replaced(self, gauge: Gauge, before: Sequence[str], values: Mapping[str, float]) -> tuple[str, ...]:
        """Set a gauge for each label, and take away labels that it had before; give the labels."""
        for label in set(before) - {str(name) for name in values}:
            if self._folder is None:
                gauge.remove(label)
            else:
                gauge.labels(label).set(_GONE)
        for label, value in values.items():
            gauge.labels(str(label)).set(value)
        return tuple(map(str, values))

    def exposition(self) -> bytes:
        """Give all metrics in the text format of Prometheus; of all processes that share the port."""
        return generate_latest(_Exposed(self._registry if self._folder is None else collected_workers(self._folder)))


class _Exposed:
    """What is given out of a registry: no times of creation, and no labels that are no more."""

    def __init__(self, source: CollectorRegistry) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        for metric in self._source.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created") and one.value != _GONE]
            yield metric
