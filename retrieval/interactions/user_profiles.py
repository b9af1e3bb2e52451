"""User profiles: attributes of users such as age, region or plan."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.catalogue.arrow_values import require_utf8
from indexing.catalogue.item_ids import id_texts
from indexing.catalogue.readers.arrow_tables import ArrowStream, arrow_table, check_distinct, is_table
from indexing.catalogue.readers.sql import SqlTable, is_sql_url, read_sql
from indexing.errors import InputError, examples
from indexing.media.files import no_file
from indexing.runtime.arguments import check_names, check_path

USER_IDS = ("user_id", "user", "userID")


@dataclass(frozen=True, eq=False)
class Profiles:
    """One row for each user.

    Attributes:
        user_ids: (U,) strings, each once.
        attributes: U rows.

    >>> known = Profiles.from_arrow(pa.table({"user": ["ann", "bob"], "age": [31, 52]}))
    >>> known.of(["bob", "cid"]).to_pylist()
    [{'age': 52}, {'age': None}]
    >>> known.known(["bob", "cid"])
    ['bob']
    """

    user_ids: pa.Array
    attributes: pa.Table

    @classmethod
    def open(cls, path: Path | str | ArrowStream) -> "Profiles":
        """Read a Parquet or CSV file, a table in memory or of a database, with ``user_id`` and further columns.

        Raises:
            InputError: When it cannot be read; see `from_arrow`.
        """
        from pyarrow import csv, parquet

        if is_table(path):
            return cls.from_arrow(path)
        if is_sql_url(path):
            return cls.from_arrow(read_sql(SqlTable.parse(str(path))))
        path = check_path(path)
        if (suffix := path.suffix.lower()) not in (".parquet", ".pq", ".csv"):
            raise InputError(f"{path} ends in {suffix!r}; profiles are read from .parquet and .csv files")
        if problem := no_file(path):
            raise InputError(problem)
        try:
            if suffix != ".csv":
                return cls.from_arrow(parquet.read_table(path))
            text = csv.ConvertOptions(column_types=dict.fromkeys(USER_IDS, pa.string()))  # 007 is no 7
            return cls.from_arrow(csv.read_csv(path, convert_options=text))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"the profiles in {path} cannot be read: {error}") from error

    @classmethod
    def from_pandas(cls, frame: object) -> "Profiles":
        """Take a pandas DataFrame, of which a named index is a column; see `from_arrow`."""
        return cls.from_arrow(frame)

    @classmethod
    def from_arrow(cls, table: object) -> "Profiles":
        """Take a table in memory with ``user_id`` (or ``user``, ``userID``) and further columns.

        Raises:
            InputError: When there is no such column, it cannot hold ids, one is missing or there twice, or nothing is
                known of anybody.
        """
        read = arrow_table(table, "the table of profiles")
        check_distinct(read.column_names, "the table of profiles")
        name = next((one for one in USER_IDS if one in read.column_names), None)
        if name is None:
            raise InputError(f"profiles need a column user_id; there are {read.column_names}")
        for column in read.column_names:
            require_utf8(read[column], column)
        ids = id_texts(read[name], name)
        if ids.null_count:
            raise InputError(f"line {pc.index(ids.is_null(), True).as_py()} of the profiles has no {name}")
        counts = pc.value_counts(ids)
        if len(twice := counts.filter(pc.greater(counts.field("counts"), 1))):
            raise InputError(
                f"{len(twice)} users have several profiles, e.g. {examples(twice.field('values').to_pylist())}; give "
                "each one line"
            )
        if read.num_columns == 1 or not len(read):
            raise InputError(f"profiles of {len(read)} users with columns {read.column_names} say nothing of anybody")
        return cls(ids, read.drop_columns([name]))

    def __len__(self) -> int:
        return len(self.user_ids)

    def positions(self, user_ids: Sequence[str]) -> NDArray[np.int64]:
        """Give the row of each user, (B,) int64, -1 for users without a profile."""
        found = pc.index_in(
            pa.array(check_names(user_ids, "user_ids"), pa.string()), value_set=self.user_ids
        ).fill_null(-1)
        positions: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
        return positions

    def known(self, user_ids: Sequence[str]) -> list[str]:
        """Keep the users who have a profile."""
        user_ids = check_names(user_ids, "user_ids")
        return [user for user, line in zip(user_ids, self.positions(user_ids).tolist(), strict=True) if line >= 0]

    def of(self, user_ids: Sequence[str]) -> pa.Table:
        """Give a row of attributes for each user, null where a value is missing."""
        positions = self.positions(user_ids)
        return self.attributes.take(pa.array(positions, mask=positions < 0))


def in_order_of(table: pa.Table, user_ids: Sequence[str], what: str, read: Collection[str] = ()) -> pa.Table:
    """Give the rows of a table by its column of users, one for each user, null where it lacks one.

    Args:
        table: Rows of users. Without a column ``user_id`` (or ``user``, ``userID``) it stays as it is.
        user_ids: The users, in the order wanted.
        what: What the table is, for messages.
        read: Columns that hold something else.

    Raises:
        InputError: When the users have no names, the table has none of them, or one twice.
    """
    name = next((one for one in USER_IDS if one in table.column_names and one not in read), None)
    if name is None:
        return table
    way = f"give user_ids as the column {name!r} has them, or leave it out and give a row for each user in their order"
    if not user_ids:
        raise InputError(f"{what} has the column {name!r}, but the users have no names; {way}")
    ids, rest = id_texts(table[name], name), table.drop_columns([name])
    if ids.to_pylist() == list(user_ids):
        return rest
    if len(pc.unique(ids)) < len(ids):
        raise InputError(f"{what} has several rows of a user, or of none, in {name!r}; give each user one row")
    found = pc.index_in(pa.array(user_ids, pa.string()), value_set=ids)
    if found.null_count == len(found):
        raise InputError(
            f"{what} has none of the {len(user_ids)} users: {name!r} has {examples(ids.to_pylist())}, they are "
            f"{examples(user_ids)}; {way}"
        )
    return rest.take(found)


def as_profiles(given: object) -> Profiles:
    """Give profiles as such: some, or what `Profiles.open` reads.

    Raises:
        InputError: When they are something else.
    """
    if isinstance(given, Profiles):
        return given
    if isinstance(given, Path | str) or is_table(given):
        return Profiles.open(given)  # type: ignore[arg-type]
    raise InputError(
        f"profiles are a {type(given).__name__}; give Profiles, a DataFrame, an Arrow table or the path of a file"
    )
