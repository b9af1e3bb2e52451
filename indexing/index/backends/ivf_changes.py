"""Rows of FAISS inverted lists that leave and come, without training: the codes of those that stay are kept.

FAISS removes rows from lists of fast scan, but leaves what was last in a list in the free places of its last block,
and mixes it with codes that are added later (1.15.1). They are overwritten here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.filesystem.mapped import map_array, write_array

SAMPLED_ROWS = 5_000  # of which it is seen what was taken away before they were coded
BLOCK_ROWS = 16_384  # vectors that are copied at a time


def codes_without(codes: Any, kept: Mask) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Return a copy of inverted lists with the rows that are kept alone, numbered anew in their order.

    Args:
        codes: Lists of codes; they stay as they are.
        kept: (N,) bool.
    """
    changed = faiss.clone_index(codes)
    changed.set_direct_map_type(faiss.DirectMap.NoMap)
    new_rows, lists = np.cumsum(kept) - 1, faiss.downcast_InvertedLists(changed.invlists)
    if isinstance(lists, faiss.BlockInvertedLists):
        changed.remove_ids(faiss.IDSelectorNot(faiss.IDSelectorBitmap(np.packbits(kept, bitorder="little"))))
        for number in range(lists.nlist):
            _clear_free_places(lists, number)
        for _, ids in _rows_by_list(lists):
            ids[:] = new_rows[ids]
    else:
        remaining = faiss.ArrayInvertedLists(lists.nlist, lists.code_size)
        for number, ids in _rows_by_list(lists):
            stays = kept[ids]
            list_codes = faiss.rev_swig_ptr(lists.get_codes(number), len(ids) * lists.code_size)
            kept_codes, kept_rows = list_codes.reshape(len(ids), -1)[stays], new_rows[ids[stays]]
            remaining.add_entries(number, len(kept_rows), faiss.swig_ptr(kept_rows), faiss.swig_ptr(kept_codes))
        changed.replace_invlists(remaining, True)
        remaining.this.disown()  # the index frees it
    changed.ntotal = int(np.count_nonzero(kept))
    return changed


def _rows_by_list(lists: Any) -> Iterator[tuple[int, Rows]]:  # noqa: ANN401
    """Give the number of each list that is not empty, and the rows in it, which are no copy."""
    for number in range(lists.nlist):
        if size := lists.list_size(number):
            yield number, faiss.rev_swig_ptr(lists.get_ids(number), size)


def _blocks(lists: Any, number: int) -> NDArray[np.uint8]:  # noqa: ANN401
    """Return the blocks of a list of fast scan, which are no copy: (blocks, bytes of one)."""
    count = -(-lists.list_size(number) // lists.n_per_block)
    blocks: NDArray[np.uint8] = faiss.rev_swig_ptr(lists.get_codes(number), count * lists.block_size)
    return blocks.reshape(count, lists.block_size)


def _clear_free_places(lists: Any, number: int) -> None:  # noqa: ANN401
    """Overwrite the codes after the last of a list of fast scan."""
    if used := lists.list_size(number) % lists.n_per_block:
        packer, last = lists.packer, _blocks(lists, number)[-1:]
        nothing = np.zeros(packer.code_size, np.uint8)
        for place in range(used, lists.n_per_block):
            packer.pack_1(nothing, place, last)


def offset_of_codes(codes: Any, exact: Any) -> Vectors:  # noqa: ANN401
    """Estimate what was taken away from vectors before they were coded, as what codes lack on average: (D,) float32.

    Args:
        codes: Lists of codes.
        exact: Has the vectors of all rows, in row order.
    """
    lists = faiss.downcast_InvertedLists(codes.invlists)
    share = min(1.0, SAMPLED_ROWS / max(1, codes.ntotal))
    total, count = np.zeros(codes.d), 0
    for number, ids in _rows_by_list(lists):
        places = np.unique(np.linspace(0, len(ids) - 1, max(1, round(len(ids) * share))).astype(np.int64))
        lacking = exact.reconstruct_batch(ids[places]) - _decoded(codes, lists, number, places)
        total += lacking.sum(axis=0, dtype=np.float64)
        count += len(places)
    return (total / max(1, count)).astype(np.float32)


def _decoded(codes: Any, lists: Any, number: int, places: Rows) -> Vectors:  # noqa: ANN401
    """Return what the codes at P places of a list stand for: (P, D) float32."""
    vectors = np.empty((len(places), codes.d), np.float32)
    if isinstance(lists, faiss.BlockInvertedLists):  # whose own way of doing so ends the process
        blocks, packer = _blocks(lists, number), lists.packer
        vectors[:] = codes.pq.decode(np.stack([packer.unpack_1(blocks, int(place)) for place in places]))
        if codes.by_residual:
            vectors += codes.quantizer.reconstruct(number)
        return vectors
    for place, vector in zip(places, vectors, strict=True):
        codes.reconstruct_from_offset(number, int(place), faiss.swig_ptr(vector))
    return vectors


def within_range(exact: Any, vectors: Vectors) -> bool:  # noqa: ANN401
    """Say whether scalars of eight bits, which end at the least and the greatest they were trained on, fit vectors.

    Of (M, D) vectors as much may be cut off as rounding loses at most.
    """
    trained = faiss.vector_to_array(exact.sq.trained)  # the least of each dimension, and the ranges; or nothing
    if not len(trained) or not len(vectors):
        return True
    lost = np.linalg.norm(exact.sa_decode(exact.sa_encode(vectors)) - vectors, axis=1)
    return bool(lost.max() <= np.linalg.norm(trained[len(trained) // 2 :]) / 255)


def vectors_with(exact: Any, kept: Mask, added: Vectors, path: Path) -> Any:  # noqa: ANN401
    """Return an index that scans the vectors of another that are kept, and (M, D) others after them.

    Args:
        exact: Quantised by scalars; it stays as it is.
        kept: (N,) bool.
        added: (M, D) float32.
        path: Where the codes are written; they are mapped while the index lives, and not in memory.
    """
    size, rows = exact.code_size, np.flatnonzero(kept)
    known = faiss.rev_swig_ptr(exact.codes.data(), exact.ntotal * size).reshape(-1, size)

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(rows), BLOCK_ROWS):
            yield known[rows[start : start + BLOCK_ROWS]]
        for start in range(0, len(added), BLOCK_ROWS):
            yield exact.sa_encode(added[start : start + BLOCK_ROWS])

    shape = (len(rows) + len(added), size)
    write_array(path, blocks(), shape, np.uint8)
    codes = map_array(path, shape, np.uint8)
    changed = faiss.IndexScalarQuantizer(exact.d, exact.sq.qtype, exact.metric_type)
    faiss.copy_array_to_vector(faiss.vector_to_array(exact.sq.trained), changed.sq.trained)
    nobody = changed.codes.owner
    changed.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes.reshape(-1)), codes.size, nobody)
    changed.ntotal, changed.is_trained, changed.referenced_objects = len(codes), True, (codes,)
    return changed
