"""Cleans a log: applies all rules repeatedly until none removes anything."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.errors import InputError, InteractionsError
from retrieval.interactions.cleaning.bots import CodedLog, copied, of_one_item, too_fast
from retrieval.interactions.cleaning.config import PrepareConfig, PushLimits
from retrieval.interactions.cleaning.report import PreparationReport, Push, Removal
from retrieval.interactions.cleaning.shilling_attacks import pushed
from retrieval.interactions.event_types import aged_from
from retrieval.interactions.interactions import Interactions

_EXAMPLES = 3

Rule = Callable[[CodedLog], Mask]


def prepare(
    interactions: Interactions,
    config: PrepareConfig | None = None,
    *,
    on_rule: Callable[[str], None] | None = None,
) -> tuple[Interactions, PreparationReport]:
    """Remove interactions from a log that are useless or harmful for training.

    The rules are repeated until none removes anything: preparing a prepared log changes nothing, and duplicate rows
    have no effect.

    Args:
        interactions: The log.
        config: The rules.
        on_rule: Called with the name of each rule before it is applied.

    Returns:
        The remaining interactions, in the same order, and a report.

    Raises:
        InteractionsError: When nothing is left.

    >>> log = Interactions.from_arrow(pa.table({"user": ["a", "a", "b"], "item": ["mug"] * 3, "time": [9, 9, 9]}))
    >>> prepared, report = prepare(log)
    >>> prepared, report.removed["duplicate"].examples
    (<Interactions 2 of 2 users on 1 items>, (('a', 'mug'),))
    """
    run = _Preparation(interactions, config or PrepareConfig(), on_rule or (lambda _: None))
    return run.prepared(), run.report()


def written_back(interactions: Interactions) -> pa.Table:
    """Give a log as a table to write; ratings are named so, because reading it again depends on the name."""
    table = interactions.table
    return table.rename_columns([*table.column_names[:-1], "rating"]) if interactions.repeats == "last" else table


class _Preparation:
    """The state of one log while the rules are applied."""

    def __init__(self, interactions: Interactions, config: PrepareConfig, on_rule: Callable[[str], None]) -> None:
        self.interactions, self.config, self.on_rule = interactions, config, on_rule
        self.original = self.log = CodedLog.of(interactions.table)
        self.timed = bool(np.any(self.log.times >= config.earliest))
        self.reasons = np.full(len(self.log), -1)
        self.names: list[str] = []
        self.changed: Counter[str] = Counter()
        self.pushes: list[Push] = []
        if self.timed:
            self._apply("impossible time", self._impossible)
        self._merge()
        self._bound()
        rules = self._rules()
        before = -1
        while len(self.log) != before:
            before = len(self.log)
            for name, rule in rules:
                self._apply(name, rule)

    def prepared(self) -> Interactions:
        """Give the remaining interactions."""
        if not len(self.log) and len(self.original):
            lost = {name: removal.rows for name, removal in self._removed().items()}
            raise InteractionsError(f"of {len(self.original)} interactions none is left: {lost}; raise these limits")
        table = self.interactions.table.take(self.log.positions)
        position = table.schema.get_field_index("weight")
        table = table.set_column(position, table.schema.field(position), pa.array(self.log.weights, pa.float32()))
        return replace(self.interactions, table=table.combine_chunks())

    def report(self) -> PreparationReport:
        """Give the report."""
        users, items = (
            (len(np.unique(getattr(self.original, name))), len(np.unique(getattr(self.log, name))))
            for name in ("users", "items")
        )
        return PreparationReport(
            rows=len(self.original),
            kept=len(self.log),
            users=users,
            items=items,
            timed=self.timed,
            removed=self._removed(),
            changed=dict(self.changed),
            unreadable=dict(self.interactions.dropped),
            pushes=tuple(self.pushes),
            examples=dict(self.interactions.examples),
        )

    def _rules(self) -> list[tuple[str, Rule]]:
        bots, caps, core = self.config.bots, self.config.caps, self.config.k_core
        rules: list[tuple[str, Rule]] = []
        if bots is not None:
            rules += [("too fast", partial(too_fast, limits=bots))] if self.timed else []
            rules += [("of one item", partial(of_one_item, limits=bots)), ("copied", partial(copied, limits=bots))]
        if (pushes := self.config.pushes) is not None and self.timed:
            rules += [("pushed", partial(self._pushed, limits=pushes, days=days)) for days in pushes.window_days]
        if (pair := caps.per_pair) is not None:
            rules.append(("over the cap of a user and item", lambda log: beyond_last(log.pairs, pair)))
        if (user := caps.per_user) is not None:
            rules.append(("over the cap of a user", lambda log: beyond_last(log.users, user)))
        if (item := caps.per_item) is not None:
            rules.append(("over the cap of an item", lambda log: beyond_drawn(log, item)))
        if core is not None:
            rules.append(("outside the k-core", lambda log: outside_core(log, *core)))
        return rules

    def _apply(self, name: str, rule: Rule) -> None:
        if not len(self.log):
            return
        self.on_rule(name)
        self._remove(name, rule(self.log))

    def _remove(self, name: str, out: Mask) -> None:
        if not out.any():
            return
        if name not in self.names:
            self.names.append(name)
        self.reasons[self.log.positions[out]] = self.names.index(name)
        self.log = self.log.where(~out)

    def _impossible(self, log: CodedLog) -> Mask:
        latest = int(time.time()) + SECONDS_PER_DAY if self.config.latest is None else self.config.latest
        out: Mask = (log.times < self.config.earliest) | (log.times > latest)
        return out

    def _merge(self) -> None:
        self.on_rule("duplicate")
        out, weights = repeats(self.log, self.config.repeat_seconds)
        raised = int(np.sum(weights[~out] != self.log.weights[~out]))
        self.log = replace(self.log, weights=weights)
        self._count("raised to that of a duplicate", raised)
        self._remove("duplicate", out)

    def _bound(self) -> None:
        max_weight = self.config.caps.weight
        if max_weight is not None:
            self._count("lowered to the cap", int(np.sum(self.log.weights > np.float32(max_weight))))
            self.log = replace(self.log, weights=np.minimum(self.log.weights, np.float32(max_weight)))

    def _count(self, what: str, count: int) -> None:
        if count:
            self.changed[what] += count

    def _pushed(self, log: CodedLog, limits: PushLimits, days: float) -> Mask:
        out, groups = pushed(log, limits, days)
        self.pushes += groups
        return out

    def _removed(self) -> dict[str, Removal]:
        original, removed = self.original, {}
        for number, name in enumerate(self.names):
            rows = np.flatnonzero(self.reasons == number)
            users, items = original.users[rows], original.items[rows]
            shown = tuple(
                (original.user_ids[user], original.item_ids[item])
                for user, item in zip(users[:_EXAMPLES].tolist(), items[:_EXAMPLES].tolist(), strict=True)
            )
            removed[name] = Removal(len(rows), len(np.unique(users)), len(np.unique(items)), shown)
        return removed


def repeats(log: CodedLog, seconds: int) -> tuple[Mask, Vectors]:
    """Find what a user did again with an item in the same so many seconds of the clock.

    Returns:
        (N,) bool, which interactions repeat an earlier one, and (N,) float32, weights: what stays has the largest of
        those that it stands for.
    """
    slots = log.times // seconds
    order = np.lexsort((np.arange(len(log)), slots, log.pairs))
    pairs, slots = log.pairs[order], slots[order]
    again = np.zeros(len(log), np.bool_)
    again[1:] = (pairs[1:] == pairs[:-1]) & (slots[1:] == slots[:-1])
    out = np.zeros(len(log), np.bool_)
    out[order] = again
    weights = log.weights.copy()
    if len(log):
        weights[order[~again]] = np.maximum.reduceat(log.weights[order], np.flatnonzero(~again))
    return out, weights


def beyond_last(keys: Rows, max_count: int) -> Mask:
    """Say which interactions are not among the last so many of their key: (N,) bool."""
    return _beyond(keys, np.arange(len(keys))[::-1], max_count)


def beyond_drawn(log: CodedLog, max_count: int) -> Mask:
    """Say which interactions are not among those drawn for their item, by a hash of the user_id: (N,) bool."""
    crowded = np.bincount(log.items, minlength=len(log.item_ids)) > max_count
    lots = np.zeros(len(log.user_ids), np.uint64)
    for user in np.unique(log.users[crowded[log.items]]).tolist():
        lots[user] = int.from_bytes(blake2b(log.user_ids[user].encode(), digest_size=8).digest(), "big")
    return _beyond(log.items, np.argsort(np.lexsort((np.arange(len(log)), lots[log.users]))), max_count)


def _beyond(keys: Rows, ranks: Rows, max_count: int) -> Mask:
    """Say which are not among the so many of lowest rank of their key."""
    order = np.lexsort((ranks, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(keys)))
    out = np.zeros(len(keys), np.bool_)
    out[order] = np.arange(len(keys)) - np.repeat(starts, lengths) >= max_count
    return out


def outside_core(log: CodedLog, items_a_user: int, users_an_item: int) -> Mask:
    """Say which interactions are outside the k-core, once users and items with too few are gone: (N,) bool."""
    users, items = log.once()
    while True:
        enough = (np.bincount(users, minlength=len(log.user_ids)) >= items_a_user)[users]
        enough &= (np.bincount(items, minlength=len(log.item_ids)) >= users_an_item)[items]
        if enough.all():
            break
        users, items = users[enough], items[enough]
    return ~np.isin(log.pairs, users * max(len(log.item_ids), 1) + items)


def decayed(interactions: Interactions, half_life_days: float, *, now: int | None = None) -> Interactions:
    """Halve the weights with every so many days of age.

    This is the last step before learning, and no part of `prepare`: a log that is kept must not fade each time it is
    prepared again.

    Args:
        interactions: The log.
        half_life_days: Days in which a weight halves.
        now: The second from which ages count; the end of the log when None, see `late_tail`. Later interactions keep
            their weights.

    Raises:
        InputError: For a half-life that is not positive.

    >>> log = Interactions.from_arrow(pa.table({"user": ["a", "a"], "item": ["mug", "cup"], "time": [0, 864_000]}))
    >>> decayed(log, 10).table["weight"].to_pylist()
    [0.5, 1.0]
    """
    if not (half_life_days > 0 and math.isfinite(half_life_days)):
        raise InputError(f"a half-life of {half_life_days} days has no meaning; give a positive number")
    table = interactions.table
    times = table["timestamp"].to_numpy()
    newest = int(aged_from(times, table["user_id"])[-1]) if now is None and len(times) else now or 0
    ages = np.maximum(newest - times, 0) / (half_life_days * SECONDS_PER_DAY)
    weights = (table["weight"].to_numpy().astype(np.float64) * 0.5**ages).astype(np.float32)
    position = table.schema.get_field_index("weight")
    faded = table.set_column(position, table.schema.field(position), pa.array(weights, pa.float32()))
    return replace(interactions, table=faded)
