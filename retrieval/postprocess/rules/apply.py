"""What each rule asks of a catalogue, and in which order rules count."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.catalogue.attribute_types import is_number
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import FilterError, InputError
from retrieval.candidates import Candidates, check_lines
from retrieval.features.column_encoders import numbers
from retrieval.filters import Where, matching
from retrieval.filters.values import attribute_type, typed
from retrieval.postprocess.rules.rule_types import Boost, Bury, Exclude, Fresh, Lists, Pin, Rule
from retrieval.postprocess.rules.ruled_candidates import Ruled

_DAY = 86_400.0


def applied(candidates: Candidates, rules: Sequence[Rule], attributes: pa.Table) -> Ruled:
    """Apply rules: first what is excluded goes, then scores are raised, then some are buried, and pins are set last.

    Args:
        candidates: B queries, best first.
        rules: In any order; of pins that want the same place the first has it.
        attributes: One line an item, in the order of rows.

    Returns:
        The candidates with stage ``"rules"``, as many a query as there were, or as there are pins when that is more. A
        pinned hit has the score of the hit behind it.

    Raises:
        FilterError: When a filter does not fit the attributes.
        UnknownItemError: When a pinned item is not in the bundle.
        InputError: When the score of a candidate is no number, or freshness is asked of a column that has none.
        ShapeError: When the attributes are of other items.
    """
    check_lines(attributes.num_rows, candidates, "attributes")
    lists, items = Lists(candidates, [str(rule) for rule in rules]), candidates.items
    gone = np.zeros(len(items), np.bool_)
    buried: dict[int, Mask] = {}
    lifts: dict[int, NDArray[np.float64]] = {}
    pins: list[tuple[int, Pin]] = []
    for number, rule in enumerate(rules):
        match rule:
            case Exclude():
                banned = _banned(rule, attributes, items)
                lists.exclude(number, banned)
                gone |= banned
            case Boost():
                lifts[number] = np.where(_where(attributes, rule, rule.where), rule.by, 0.0)
            case Fresh():
                lifts[number] = rule.by * newness(attributes, rule, items.alive)
            case Bury():
                buried[number] = _where(attributes, rule, rule.where)
            case Pin():
                pins.append((number, rule))
    if lifts:
        lists.lift(lifts)
    if buried:
        lists.bury(buried)
    lists.pin(_places(pins, items, gone, candidates.rows.shape[1]))
    return lists.ruled(candidates)


def newness(attributes: pa.Table, rule: Fresh, alive: Mask | None = None) -> NDArray[np.float64]:
    """Give 1 for what is new, one half for an age of one half-life, and so on; 0 without a date: (N,) float64.

    Args:
        attributes: One line a row.
        rule: Says which column.
        alive: (N,) bool, the rows whose items are not deleted: the newest of these has age 0. All when None.

    Raises:
        InputError: When the column has no dates, times or numbers, or ``now`` is none.
    """
    kind = attribute_type(attributes, rule.column)
    dated = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if not (dated or is_number(kind)):
        raise InputError(f"rule {str(rule)!r}: {rule.column!r} holds {kind}; name a column of dates, times or numbers")
    values = numbers(attributes[rule.column])
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values))
    there = known if alive is None else known & alive
    now = float(values[there if there.any() else known].max())
    if rule.now is not None:
        try:
            now = float(numbers(pa.chunked_array([pa.array([typed(rule.now, kind).as_py()], kind)]))[0])
        except (FilterError, pa.ArrowException) as error:
            raise InputError(f"rule {str(rule)!r}: now is {rule.now!r}: {error}") from error
    age = np.maximum(now - np.where(known, values, now), 0.0) / (rule.half_life * (_DAY if dated else 1.0))
    return np.where(known, 0.5**age, 0.0)


def _where(attributes: pa.Table, rule: Rule, where: Where) -> Mask:
    try:
        return matching(attributes, where)
    except FilterError as error:
        raise FilterError(f"rule {str(rule)!r}: {error}") from error


def _banned(rule: Exclude, attributes: pa.Table, items: ItemIds) -> Mask:
    banned = np.zeros(len(items), np.bool_)
    if rule.asks:
        banned |= _where(attributes, rule, rule.where)
    banned[items.rows(items.known(rule.item_ids))] = True
    return banned


def _places(pins: Sequence[tuple[int, Pin]], items: ItemIds, gone: Mask, length: int) -> dict[int, tuple[int, int]]:
    """Say which row stands at which place from 0, and by which rule; an item is pinned once, and not when excluded."""
    places: dict[int, tuple[int, int]] = {}
    pinned: set[int] = set()
    for number, pin in pins:
        place = min(pin.at - 1, length)
        for row in items.rows(pin.item_ids).tolist():
            if row in pinned or gone[row]:
                continue
            while place in places:
                place += 1
            places[place] = (row, number)
            pinned.add(row)
    return places
