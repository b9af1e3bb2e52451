"""Candidates as tables: Arrow, and the run files of TREC."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from retrieval.candidates.folded import FOLDED
from retrieval.candidates.sources import source_names

if TYPE_CHECKING:
    from retrieval.candidates.candidates import Candidates


def hits_table(candidates: "Candidates") -> pa.Table:
    """Give a table with one row for each hit; see `Candidates.to_arrow`."""
    query, position = np.nonzero(candidates.rows >= 0)
    unique_rows, item_code = np.unique(candidates.rows[query, position], return_inverse=True)  # an id is made once
    table = pa.table(
        {
            "query_id": pa.array(candidates.query_ids, pa.string()).take(pa.array(query)),
            "item_id": pa.array([candidates.items[row] for row in unique_rows.tolist()], pa.string()).take(
                pa.array(item_code)
            ),
            "rank": pa.array(position + 1, pa.int64()),
            "score": pa.array(candidates.scores[query, position], pa.float32()),
            "stage": pa.array([candidates.stage_of(number) for number in range(len(candidates))], pa.string()).take(
                pa.array(query)
            ),
            "source": source_names(
                np.full(len(query), -1, np.int8) if candidates.sources is None else candidates.sources[query, position]
            ),
        }
    )
    if not candidates.folded:
        return table
    lists = [hit_ids for number in range(len(candidates)) for hit_ids in candidates.folded_ids(number)]
    return table.append_column(FOLDED, pa.array(lists, FOLDED.type))


def trec_run(candidates: "Candidates") -> str:
    """Give a TREC run; see `Candidates.to_trec`."""
    return "".join(
        f"{query_id} Q0 {hit.item_id} {hit.rank} {hit.score:.6f} {candidates.stage_of(query)}\n"
        for query, (query_id, hits) in enumerate(zip(candidates.query_ids, candidates, strict=True))
        for hit in hits
    )
