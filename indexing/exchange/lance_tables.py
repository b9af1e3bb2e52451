"""Generations of a bundle as versions of a table of LanceDB, in a folder or in object storage, for stateless readers.

items        the vectors that a generation serves, its item_ids and attributes; one version or more a generation
generations  name, version of the table `items`, and what there is to know of it, one row a generation
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.arrays import Mask, Rows, Vectors
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.bundle.index_files import held_out_queries
from indexing.errors import GenerationError, InputError, examples, import_extra
from indexing.exchange.object_storage.base import storage_errors
from indexing.filesystem.checked_files import read_as
from indexing.index.backends.build_lance import write_table
from indexing.index.backends.lance import LanceIndex
from indexing.index.backends.lance_table import DIGEST, EXTRA, KEY, MAX_TABLES, VECTOR, Contents
from indexing.index.config import SearchParamsByKind
from indexing.index.tuning.families import shortlist
from indexing.index.tuning.recall import HeldOutQueries, ground_truths
from indexing.index.tuning.trial import Trial, tune

ITEMS, GENERATIONS = "items", "generations"
OWN_COLUMNS = (KEY, DIGEST, VECTOR)
MAX_GENERATIONS = 100_000


@dataclass(frozen=True)
class LanceReport:
    """A generation in a table.

    Attributes:
        generation: Its name.
        version: The version of the table that holds it.
        dim: Length of the vectors.
        content_dim: So many of their first numbers are content, of unit length. The others, if any, are what users go
            on to: a query by text or picture has zeros there.
        encoder: What queries must be embedded with.
        fingerprint: Its identity.
        learned: Parts that changed the item vectors; queries by text or picture stay as the encoder gives them.
        rows: How many items there are.
        lists: How many inverted lists the table has; 0 where every search is exact.
        trained: On how many rows lists and codes were trained.
        k: Depth at which recall was measured.
        recall: Recall@k of each kind of query, measured on this version.
        efforts: How hard a search tries for each kind of query.
        unmet: Which goals of the bundle it misses, in words.
    """

    generation: str
    version: int
    dim: int
    content_dim: int
    encoder: str
    fingerprint: str
    learned: Sequence[str]
    rows: int
    lists: int
    trained: int
    k: int
    recall: Mapping[str, float]
    efforts: Mapping[str, Mapping[str, int]]
    unmet: Sequence[str]

    @property
    def contents(self) -> Contents:
        """What the table holds."""
        return Contents(self.rows, self.dim, self.version, self.lists, self.trained)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def export_lance(
    bundle: Bundle,
    uri: str | Path,
    *,
    queries: HeldOutQueries | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> LanceReport:
    """Write a generation as a new version of a table, with its item_ids and attributes, and measure its recall there.

    Rows that the generation exported before has too are kept, and its version stays. A generation that is there already
    is not written again; it becomes the last one, which readers open, as after a rollback.

    Args:
        bundle: The generation.
        uri: Folder, or URL as ``s3://bucket/shop``.
        queries: Held-out queries of each kind to tune on; without, those of frozen vectors.
        storage_options: How to reach object storage, as LanceDB takes it; what is not said is taken from the
            environment, as ``AWS_ACCESS_KEY_ID`` is.

    Raises:
        InputError: When an attribute has a name that the table cannot take, learned vectors have no queries, or the
            table is of another encoder: whoever reads it would get answers to other queries.
        BundleError: When another process changed the table meanwhile.
        StorageError: When the table cannot be written, as on a full disk or without keys.
        MissingExtraError: When lancedb is not installed.
    """
    bundle.require_compacted()
    database = connect(uri, storage_options)
    reports = _reports(database)
    generation = bundle.manifest.generation
    if generation in reports:
        if generation != list(reports)[-1]:
            with storage_errors(str(uri)):
                _record(database, reports[generation])
        return reports[generation]
    _check_encoder(bundle, reports, uri)
    vectors, columns = served_vectors(bundle), _columns(bundle.attributes)
    config = replace(bundle.manifest.index_config(), kind="lancedb", on_disk=False)
    if queries is None:
        if vectors.shape[1] != bundle.manifest.encoder.dim:
            raise InputError(f"{bundle.root} has learned vectors of length {vectors.shape[1]}: give queries to tune on")
        queries = held_out_queries(
            bundle.modality_vectors, vectors, config.sample, given=bundle.generation.sample_queries
        )
    truths = ground_truths(vectors, queries, config.k, config.sample)
    (family,) = shortlist(config, *vectors.shape)
    has_lists = family.refine is not None
    before = max((report.contents for report in reports.values()), key=lambda held: held.version, default=None)
    while True:
        started = perf_counter()
        with storage_errors(str(uri)):
            table, contents = write_table(database, ITEMS, vectors, columns, before=before, lists=has_lists)
        trial = tune(family, LanceIndex(table, contents), vectors, config, truths, perf_counter() - started)
        if before is None or "recall" not in trial.unmet:
            break
        before = None  # lists that were extended find too little: they are made anew
    report = _report(bundle, contents, trial, config.k)
    with storage_errors(str(uri)):
        table.tags.create(generation, contents.version)  # or else LanceDB removed the version some day
        _record(database, report)
    return report


def connect(uri: str | Path, storage_options: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
    """Open a database of LanceDB: a folder, or a prefix in object storage.

    Raises:
        MissingExtraError: When lancedb is not installed.
        StorageError: When it cannot be reached.
    """
    lancedb = import_extra("lancedb", EXTRA)
    with storage_errors(str(uri)):
        return lancedb.connect(str(uri), storage_options=dict(storage_options or {}))


class LanceTable:
    """A generation of a bundle as a version of a table, read from wherever it is; made by `open`.

    Attributes:
        report: What there is to know of it.
        index: A `VectorIndex` over it.
    """

    def __init__(self, table: Any, report: LanceReport) -> None:  # noqa: ANN401
        self.report = report
        self.index = LanceIndex(table, report.contents, SearchParamsByKind.from_json(report.efforts))

    @classmethod
    def open(
        cls,
        uri: str | Path,
        generation: str | None = None,
        *,
        storage_options: Mapping[str, str] | None = None,
    ) -> "LanceTable":
        """Open the generation that was exported last, or another by its name.

        Args:
            uri: Where `export_lance` wrote it.
            generation: Its name; the last one when None.
            storage_options: As for `export_lance`.

        Raises:
            GenerationError: When it is not there.
            DamagedFileError: When the table does not hold it.
        """
        database = connect(uri, storage_options)
        reports = _reports(database)
        if not reports:
            raise GenerationError(f"{uri} holds no generation of a bundle; write one there with export_lance")
        name = list(reports)[-1] if generation is None else generation
        if name not in reports:
            raise GenerationError(f"{uri} holds no generation {name[:60]!r}; it holds {examples(reports)}")
        with read_as(f"generation {name} at {uri}", "export it again, to another place"):
            table = database.open_table(ITEMS)
            table.checkout(reports[name].version)
            return cls(table, reports[name])

    @staticmethod
    def generations(uri: str | Path, *, storage_options: Mapping[str, str] | None = None) -> list[str]:
        """Return the names of the generations that are there, in the order in which they were exported."""
        return list(_reports(connect(uri, storage_options)))

    @property
    def schema(self) -> pa.Schema:
        """Names and types of item_id and the attributes."""
        return pa.schema([field for field in self.index.table.schema if field.name not in OWN_COLUMNS])

    @cached_property
    def attributes(self) -> pa.Table:
        """item_id and attributes of all items in row order, read once."""
        table = self.index.table.search(None).select(self.schema.names).limit(len(self.index)).to_arrow()
        return table.cast(self.schema)

    def search(
        self, queries: Vectors, k: int, where: str | Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, list[list[str]]]:
        """Find the best k items for each query.

        Args:
            queries: (B, D) float32; also (B, C) with the content alone, the first `LanceReport.content_dim` numbers, as
                an encoder gives it: the others are then zeros.
            k: How many items a query; at least 1.
            where: Which items may be returned: a condition in SQL, which LanceDB filters by, or a mask (N,) bool.
            kind: What the queries are, see `VectorIndex.search`.

        Returns:
            Scores (B, k) float32, -inf where there are fewer, and for each query the item_ids that there are.

        Raises:
            FilterError: When the condition cannot be read.
        """
        missing = self.report.dim - self.report.content_dim
        if missing and queries.ndim == 2 and queries.shape[1] == self.report.content_dim:
            queries = np.pad(queries, ((0, 0), (0, missing)))
        if isinstance(where, str):
            scores, rows = self.index.search_where(queries, k, where, kind)
        else:
            scores, rows = self.index.search(queries, k, where, kind)
        return scores, self.item_ids(rows)

    def item_ids(self, rows: Rows) -> list[list[str]]:
        """Return the item_ids of rows (B, k), without those that are -1."""
        found = np.unique(rows[rows >= 0])
        if not len(found):
            return [[] for _ in rows]
        taken = self.index.table.take_offsets(found.tolist()).select(["item_id"]).to_arrow().column("item_id")
        names = dict(zip(found.tolist(), taken.to_pylist(), strict=True))
        return [[names[row] for row in line if row >= 0] for line in rows.tolist()]


def _check_encoder(bundle: Bundle, reports: Mapping[str, LanceReport], uri: str | Path) -> None:
    """Check that a bundle is of the encoder of the generations that are there, if there are any.

    Raises:
        InputError: When it is not.
    """
    encoders = {report.fingerprint: report.encoder for report in reports.values()}
    if encoders and bundle.manifest.encoder.fingerprint not in encoders:
        raise InputError(
            f"{uri} holds generations of the encoder {list(encoders.values())[-1]}, whose readers would ask with its "
            f"vectors; {bundle.root} is of {bundle.manifest.encoder.name}: export it to another place"
        )


def _columns(attributes: pa.Table) -> pa.Table:
    """Return attributes as columns of a table.

    Raises:
        InputError: When a name is one of the table's own, or has a point in it, which LanceDB does not take.
    """
    if taken := [name for name in attributes.column_names if name in OWN_COLUMNS or "." in name]:
        raise InputError(
            f"a table of LanceDB cannot have the columns {examples(taken)}: rename them and build the bundle again"
        )
    return attributes.replace_schema_metadata(None)


def _report(bundle: Bundle, contents: Contents, trial: Trial, k: int) -> LanceReport:
    info = bundle.manifest.encoder
    return LanceReport(
        generation=bundle.manifest.generation,
        content_dim=info.dim,
        encoder=info.name,
        fingerprint=info.fingerprint,
        learned=[feature for feature in bundle.manifest.features if feature in ("adapter", "behaviour")],
        k=k,
        recall=trial.recall,
        efforts=trial.index.efforts.to_json(),
        unmet=[line for lines in trial.unmet.values() for line in lines],
        **asdict(contents),
    )


def _record(database: Any, report: LanceReport) -> None:  # noqa: ANN401
    """Name a generation, in one commit: before it nobody sees it."""
    columns = {"generation": [report.generation], "version": [report.version], "about": [json.dumps(report.to_json())]}
    row = pa.table(columns, schema=pa.schema({"generation": pa.string(), "version": pa.int64(), "about": pa.string()}))
    if GENERATIONS in database.list_tables(limit=MAX_TABLES).tables:
        database.open_table(GENERATIONS).add(row)
    else:
        database.create_table(GENERATIONS, row, mode="create")


def _reports(database: Any) -> dict[str, LanceReport]:  # noqa: ANN401
    """Read the generations of a database, the last exported last."""
    with storage_errors(str(database.uri)):
        names = database.list_tables(limit=MAX_TABLES).tables
    if GENERATIONS not in names:
        return {}
    with read_as(f"{database.uri}", "say which folder or URL the tables are at, and how to reach it"):
        rows = database.open_table(GENERATIONS).search(None).limit(MAX_GENERATIONS).to_arrow()
        reports = [LanceReport(**json.loads(about)) for about in rows.column("about").to_pylist()]
        last = {report.generation: position for position, report in enumerate(reports)}  # where it was named last
        return {reports[position].generation: reports[position] for position in sorted(last.values())}
