"""Weights that fade with time."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa

from indexing.errors import InputError
from retrieval.interactions.cleaning.coded_log import DAY
from retrieval.interactions.interactions import Interactions


def decayed(interactions: Interactions, half_life_days: float, *, now: int | None = None) -> Interactions:
    """Halve the weights with every so many days of age.

    This is the last step before learning, and no part of `prepare`: a log that is kept must not fade each time it is
    prepared again.

    Args:
        interactions: The log.
        half_life_days: Days in which a weight halves.
        now: The second from which ages count; the last of the log when None. Later interactions keep their weights.

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
    newest = int(times[-1]) if now is None and len(times) else now or 0
    ages = np.maximum(newest - times, 0) / (half_life_days * DAY)
    weights = (table["weight"].to_numpy().astype(np.float64) * 0.5**ages).astype(np.float32)
    place = table.schema.get_field_index("weight")
    faded = table.set_column(place, table.schema.field(place), pa.array(weights, pa.float32()))
    return replace(interactions, table=faded)
