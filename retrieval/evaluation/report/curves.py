"""What the build of an index measured, as curves: recall against queries a second for each kind of query."""

from collections.abc import Mapping, Sequence
from typing import Any

Curve = Sequence[tuple[float, float]]


def curves(index: Mapping[str, Any]) -> dict[str, dict[str, Curve]]:
    """Give for each kind of query and family the (recall, queries a second) that no other effort beats in both.

    Args:
        index: The section on the index of a manifest.
    """
    found: dict[str, dict[str, Curve]] = {}
    for trial in index.get("tried", ()):
        for kind, points in trial["points"].items():
            measured = [(point["recall"], point["queries_per_second"]) for point in points]
            best = [one for one in measured if not any(_beats(other, one) for other in measured)]
            found.setdefault(kind, {})[trial["family"]] = sorted(set(best))
    return found


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
