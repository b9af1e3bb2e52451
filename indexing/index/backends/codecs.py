"""How a vector is kept: FAISS's scalar quantisers by name, and the bytes of every code."""

from typing import Any, Literal, assert_never

import faiss

Scalar = Literal["fp32", "fp16", "sq8", "sq4"]
"""Kept as single or half precision, or eight or four bits a dimension between the least and the greatest there."""

Codec = Literal["pq4", "rabitq", "sq8", "fp16"]
"""What inverted lists hold: four-bit product codes of two dimensions each, one bit a dimension, or a `Scalar`."""

SHORT = ("pq4", "rabitq")
"""Codes too coarse to be scores: they choose candidates."""

QUERY_BITS = 8  # a dimension of a query that is compared with codes of one bit

_QUANTIZERS = {
    "fp16": faiss.ScalarQuantizer.QT_fp16,
    "sq8": faiss.ScalarQuantizer.QT_8bit,
    "sq4": faiss.ScalarQuantizer.QT_4bit,
}


def quantizer(codec: str) -> int:
    """Give FAISS's number of a scalar quantiser other than ``"fp32"``."""
    return int(_QUANTIZERS[codec])


def flat_codes(dim: int, codec: Scalar) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make an empty FAISS index that scans codes of one kind."""
    if codec == "fp32":
        return faiss.IndexFlatIP(dim)
    return faiss.IndexScalarQuantizer(dim, quantizer(codec), faiss.METRIC_INNER_PRODUCT)


def list_codes(coarse: Any, dim: int, lists: int, codec: Codec) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make empty inverted lists of codes of one kind over a coarse quantiser, which the caller keeps alive."""
    product = faiss.METRIC_INNER_PRODUCT
    match codec:
        case "pq4":
            return faiss.IndexIVFPQFastScan(coarse, dim, lists, dim // 2, 4, product)
        case "rabitq":
            return faiss.IndexIVFRaBitQ(coarse, dim, lists, product)
        case "sq8" | "fp16":
            return faiss.IndexIVFScalarQuantizer(coarse, dim, lists, quantizer(codec), product)
        case _:
            assert_never(codec)


def scanning(codes: Any, lists: int, chosen: Any = None) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Say for one search how many lists to scan, and by a selector which rows."""
    only = {} if chosen is None else {"sel": chosen}
    if isinstance(codes, faiss.IndexIVFRaBitQ):
        return faiss.IVFRaBitQSearchParameters(nprobe=lists, qb=QUERY_BITS, **only)
    return faiss.SearchParametersIVF(nprobe=lists, **only)


def code_cost(codes: Any) -> float:  # noqa: ANN401 - FAISS ships no types
    """Say what a code that is scanned costs, where one is a vector that is fetched from anywhere and scored."""
    if isinstance(codes, faiss.IndexIVFPQFastScan):
        return 1 / 16
    return 1 / 8 if isinstance(codes, faiss.IndexIVFRaBitQ) else 1.0


def nbytes(index: Any) -> int:  # noqa: ANN401 - FAISS ships no types
    """Count the bytes that a FAISS index of the kinds used here keeps in memory."""
    index = faiss.downcast_index(index)
    match index:
        case faiss.IndexPreTransform():
            turn = faiss.downcast_VectorTransform(index.chain.at(0))
            return 4 * int(turn.A.size()) + nbytes(index.index)
        case faiss.IndexRefine():
            return nbytes(index.base_index) + nbytes(index.refine_index)
        case faiss.IndexHNSW():
            graph = index.hnsw
            links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
            return int(links) + nbytes(index.storage)
        case faiss.IndexIVF():
            return _lists_bytes(index) + nbytes(index.quantizer) + 8 * int(index.direct_map.array.size())
    return int(index.ntotal) * int(index.sa_code_size())


def unmapped_bytes(codes: Any) -> int:  # noqa: ANN401 - FAISS ships no types
    """Count the bytes of lists that are in memory though their file is mapped: those of fast scan."""
    return _lists_bytes(codes) if isinstance(codes, faiss.IndexIVFPQFastScan) else 0


def _lists_bytes(index: Any) -> int:  # noqa: ANN401 - FAISS ships no types
    """Count the codes and the 8 bytes of an id; fast-scan codes lie in blocks that are padded."""
    lists = faiss.downcast_InvertedLists(index.invlists)
    counts = [lists.list_size(each) for each in range(lists.nlist)]
    if isinstance(lists, faiss.BlockInvertedLists):
        blocks = sum(-(-count // lists.n_per_block) for count in counts)
        return int(blocks * lists.block_size + 8 * sum(counts))
    return int(sum(counts) * (lists.code_size + 8))
