"""Users who take a step of their walk a day, and are asked for days after the last one."""

import numpy as np
import pyarrow as pa

from retrieval import Interactions
from tests.groups import CLOCK, walks

DAY = 86_400
NOW = CLOCK + 20 * DAY  # eight days after the last interactions
USERS = ["w000", "w001", "w007", "w013", "w100"]


def day_log(users: int = 220) -> pa.Table:
    """A step of each user's walk a day; the last ones on the twelfth."""
    table = walks(users=users).table
    steps, numbers = np.repeat(np.arange(12), users), np.tile(np.arange(users), 12)
    place = table.schema.get_field_index("timestamp")
    return table.set_column(place, "timestamp", pa.array(CLOCK + DAY * steps + numbers))


def names_of(table: pa.Table) -> list[str]:
    return table["user_id"].to_pylist()  # type: ignore[no-any-return]


def as_lines(log: Interactions) -> pa.Table:
    """The same users, one a line, with the times of their last interactions as text."""
    lines = []
    for user in USERS:
        rows = [row for row in log.table.to_pylist() if row["user_id"] == user]
        last = np.datetime64(rows[-1]["timestamp"], "s").item().isoformat()
        lines.append({"user_id": user, "history": [row["item_id"] for row in rows], "last_time": last})
    return pa.Table.from_pylist(lines)
