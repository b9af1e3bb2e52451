"""The durable log of live events: what users do, at once in the next answer, and kept for `fit`."""

from retrieval.serving.events.event import Event, impressions
from retrieval.serving.events.event_log import EventLog, LogInfo
from retrieval.serving.events.writer import Appended

__all__ = ["Appended", "Event", "EventLog", "LogInfo", "impressions"]
