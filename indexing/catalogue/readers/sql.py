"""Tables and queries of SQL databases, read into Arrow: ``sqlite:///shop.db#items``, ``postgresql://host/db#items``."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from indexing.catalogue.readers.arrow_tables import check_distinct
from indexing.errors import CommonspaceError, InputError, import_extra

_SCHEMES = re.compile(r"(sqlite|postgresql|postgres)(\+\w+)?://")
_QUERY = re.compile(r"\s*(select|with|values|table)\s", re.IGNORECASE)
_FORM = "write sqlite:///FILE#TABLE or postgresql://USER@HOST/DATABASE#TABLE; a query may stand in place of the table"
ESCAPES = "in a user name or password write # as %23, @ as %40"
_ROWS = 10_000  # read at once
_JSON = pa.binary(16)  # stands for a column of JSON, whose values have types of their own


@dataclass(frozen=True)
class SqlTable:
    """A table of a database, or the answer to a query; printed without user, password and options.

    Attributes:
        url: Names the database, and may hold a password.
        redacted: The database without what may be secret.
        name: The table, perhaps with its schema as in ``shop.items``; or a query that begins with SELECT, WITH, VALUES
            or TABLE.

    >>> str(SqlTable.parse("postgresql://ann:secret@db.example.com/shop#items"))
    'postgresql://db.example.com/shop#items'
    """

    url: str = field(repr=False)
    redacted: str
    name: str

    @classmethod
    def parse(cls, source: str) -> "SqlTable":
        """Read a URL that ends in ``#TABLE`` or ``#QUERY``.

        Raises:
            InputError: When it is none; what it holds is not repeated, as it may be a password.
            MissingExtraError: When SQLAlchemy is not installed.
        """
        address, _, name = source.partition("#")
        url = database_url(address) if _SCHEMES.match(address) else None
        if url is None or (not _QUERY.match(name) and "@" in name):  # a # in a password ends the URL too early
            raise InputError(f"the URL of a database cannot be read; {_FORM}; {ESCAPES}")
        if not name.strip():
            raise InputError(f"{without_user(url)} names no table; {_FORM}")
        return cls(url.render_as_string(hide_password=False), without_user(url), name.strip())

    def __str__(self) -> str:
        return f"{self.redacted}#{self.name}"

    @property
    def is_query(self) -> bool:
        """Whether it is a query, and no table."""
        return _QUERY.match(self.name) is not None

    @property
    def is_remote(self) -> bool:
        """Whether a server is asked, and not a file."""
        return not self.redacted.startswith("sqlite")

    @property
    def parts(self) -> tuple[str | None, str]:
        """The schema, if there is one, and the name of the table."""
        schema, _, table = self.name.rpartition(".")
        return schema or None, table


def database_url(address: str) -> Any | None:  # noqa: ANN401 - SQLAlchemy stays lazy
    """Read the URL of a database, without a table, with the driver that it needs; None where it names no database.

    Raises:
        MissingExtraError: When SQLAlchemy or the driver is not installed.
    """
    alchemy = import_extra("sqlalchemy", "sql")
    try:
        url = alchemy.make_url(address)
    except (alchemy.exc.ArgumentError, ValueError):
        return None
    if "@" in (url.host or "") or not url.database:
        return None
    kind, _, driver = url.drivername.partition("+")
    kind = "postgresql" if kind == "postgres" else kind
    driver = driver or ("psycopg" if kind == "postgresql" else "")
    if driver == "psycopg":
        import_extra("psycopg", "sql")
    return url.set(drivername=f"{kind}+{driver}" if driver else kind)


def without_user(url: Any) -> str:  # noqa: ANN401 - SQLAlchemy stays lazy
    """Give the kind, the host and the name of a database, without user, password and options."""
    return f"{url.get_backend_name()}://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database}"


def is_sql_url(source: object) -> bool:
    """Whether a source is a table of a database.

    >>> is_sql_url("sqlite:///shop.db#items"), is_sql_url("s3://shop/items.parquet")
    (True, False)
    """
    return isinstance(source, str) and _SCHEMES.match(source) is not None


@contextmanager
def connected(table: SqlTable) -> Iterator[Any]:
    """Connect to a database in a transaction; errors are typed and without secrets.

    Raises:
        InputError: When the database cannot be reached, or refuses what is asked.
    """
    alchemy = import_extra("sqlalchemy", "sql")
    url = alchemy.make_url(table.url)
    engine = alchemy.create_engine(url, hide_parameters=True, poolclass=alchemy.pool.NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    except CommonspaceError:
        raise
    except alchemy.exc.NoSuchTableError as error:
        raise InputError(f"{table}: there is no such table") from error
    except alchemy.exc.SQLAlchemyError as error:
        raise InputError(f"{table}: {said_without_secrets(error, url)}") from None  # the cause may hold the URL
    finally:
        engine.dispose()


def said_without_secrets(error: Exception, url: Any) -> str:  # noqa: ANN401 - SQLAlchemy stays lazy
    """Give what a database says of an error of SQLAlchemy, without the password and options of its URL."""
    said = str(getattr(error, "orig", None) or error).strip()
    for secret in filter(None, (url.password, *map(str, url.query.values()))):
        said = said.replace(secret, "…")
    return said


def read_sql(table: SqlTable) -> pa.Table:
    """Read a table, or the answer to a query, whole.

    The types are those that a table declares, and those of the values for a query. A table is read in the order in
    which the database gives it; ORDER BY in a query says another.

    Raises:
        InputError: When it cannot be read; for a value that is not of its column's type, with its row.
    """
    if not table.is_remote and not Path(table.redacted.removeprefix("sqlite:///")).is_file():
        raise InputError(f"{table}: there is no such file")
    with connected(table) as connection:
        types, query = ({}, table.name) if table.is_query else _declared(connection, table)
        options = {"stream_results": True, "no_parameters": True}
        result = connection.execution_options(**options).exec_driver_sql(query)
        names = list(result.keys())
        check_distinct(names, str(table))
        reader = _Columns(table, {name: types.get(name) for name in names})
        while rows := result.fetchmany(_ROWS):
            reader.append(rows)
        return reader.table()


def _declared(connection: Any, table: SqlTable) -> tuple[dict[str, pa.DataType | None], str]:  # noqa: ANN401
    """Return the Arrow types of a table's columns, None where its values tell, and the query for all of it."""
    alchemy = import_extra("sqlalchemy", "sql")
    schema, name = table.parts
    columns = alchemy.inspect(connection).get_columns(name, schema=schema)
    quoted = connection.dialect.identifier_preparer.format_table(alchemy.table(name, schema=schema))
    types = {column["name"]: _arrow_type(alchemy.types, column["type"]) for column in columns}
    return types, f"SELECT * FROM {quoted}"  # noqa: S608 - the name is quoted by SQLAlchemy


def _arrow_type(types: Any, kind: Any) -> pa.DataType | None:  # noqa: ANN401 - SQLAlchemy stays lazy
    if isinstance(kind, types.Numeric) and not isinstance(kind, types.Float):
        return None if kind.precision is None else pa.decimal128(kind.precision, kind.scale or 0)
    if isinstance(kind, types.DateTime):
        return pa.timestamp("us", "UTC" if kind.timezone else None)
    known = (
        (types.Boolean, pa.bool_()),
        (types.Integer, pa.int64()),
        (types.Float, pa.float64()),
        (types.String, pa.string()),
        (types.Uuid, pa.string()),
        (types.Date, pa.date32()),
        (types.Time, pa.time64("us")),
        (types.LargeBinary, pa.binary()),
        (types.JSON, _JSON),
    )
    return next((arrow for sql, arrow in known if isinstance(kind, sql)), None)


_AS_TEXT = (UUID, IPv4Address, IPv6Address)
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "date32[day]": date.fromisoformat,
    "time64[us]": time.fromisoformat,
    "timestamp[us]": datetime.fromisoformat,
    "timestamp[us, tz=UTC]": datetime.fromisoformat,
    str(_JSON): json.loads,
}


def _are_whole(values: Sequence[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(type(value) is int for value in present)


def _value(value: Any, kind: pa.DataType | None) -> Any:  # noqa: ANN401 - of any column
    """Return a value of a driver as Arrow takes it; SQLite has numbers and texts alone, whatever a column declares."""
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, memoryview):
        return bytes(value)
    if kind is None or value is None:
        return value
    if pa.types.is_boolean(kind) and type(value) is int:
        if value not in (0, 1):
            raise ValueError("neither 0 nor 1")
        return bool(value)
    if pa.types.is_decimal(kind) and isinstance(value, int | float):
        return Decimal(str(value))
    if isinstance(value, str) and (read := _FROM_TEXT.get(str(kind))):
        return read(value)
    return value


class _Columns:
    """The columns of a result as it comes, a chunk at a time."""

    def __init__(self, table: SqlTable, types: Mapping[str, pa.DataType | None]) -> None:
        self._table, self._types = table, types
        self._chunks: dict[str, list[pa.Array]] = {name: [] for name in types}
        self._row = 0

    def append(self, rows: list[Any]) -> None:
        """Convert some rows."""
        for (name, kind), values in zip(self._types.items(), zip(*rows, strict=True), strict=True):
            self._chunks[name].append(self._array(name, kind, values))
        self._row += len(rows)

    def _array(self, name: str, kind: pa.DataType | None, values: tuple[Any, ...]) -> pa.Array:
        if kind is not None and pa.types.is_temporal(kind) and _are_whole(values):
            kind = None  # seconds and the like, as SQLite has in columns that are declared as times
        arrow = None if kind == _JSON else kind
        try:
            return pa.array([_value(value, kind) for value in values], arrow)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            first = next((value for value in values if value is not None), None)
            for row, value in enumerate(values, start=self._row):
                if self._fits(value, kind, first):
                    continue
                expected = type(first).__name__ if kind is None else "JSON" if kind == _JSON else str(kind)
                raise InputError(
                    f"row {row} (from 0) of {self._table}: {value!r:.60} in column {name!r} is no {expected}; mend it, "
                    "or convert the column by CAST in a query"
                ) from error
            raise InputError(f"column {name!r} of {self._table} cannot be read: {error}") from error

    def _fits(self, value: Any, kind: pa.DataType | None, first: Any) -> bool:  # noqa: ANN401 - of any column
        try:
            pa.array([_value(value, kind)], None if kind == _JSON else kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return False
        return kind is not None or value is None or isinstance(value, type(first))

    def table(self) -> pa.Table:
        """Return all rows as a table."""
        return pa.table({name: self._joined(name, chunks) for name, chunks in self._chunks.items()})

    def _joined(self, name: str, chunks: list[pa.Array]) -> pa.ChunkedArray:
        kinds = list(dict.fromkeys(chunk.type for chunk in chunks if not pa.types.is_null(chunk.type)))
        typed = [kind for kind in kinds if not (pa.types.is_list(kind) and pa.types.is_null(kind.value_type))]
        kinds = typed or kinds  # lists that are all empty in one chunk have the type of the others
        if not kinds:
            kind = self._types[name]
            return pa.chunked_array(chunks, pa.null() if kind in (None, _JSON) or chunks else kind)
        if all(map(pa.types.is_decimal, kinds)):
            scale = max(kind.scale for kind in kinds)
            kinds = [pa.decimal128(min(38, max(kind.precision - kind.scale for kind in kinds) + scale), scale)]
        elif {pa.int64(), pa.float64()} == set(kinds):
            kinds = [pa.float64()]
        try:
            return pa.chunked_array([chunk.cast(kinds[0]) for chunk in chunks], kinds[0])
        except (pa.ArrowException, ValueError) as error:
            raise InputError(
                f"column {name!r} of {self._table} holds values of several types, "
                f"{', '.join(map(str, kinds))}; convert it by CAST in a query"
            ) from error
