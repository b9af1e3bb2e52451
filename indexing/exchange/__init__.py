"""Files of other tools, read and written: clip-retrieval, MMRec, plain FAISS."""

from indexing.exchange.array_files import Embedded
from indexing.exchange.clip_retrieval import ClipRetrievalReport, read_clip_retrieval, write_clip_retrieval
from indexing.exchange.faiss_export import FaissReport, export_faiss
from indexing.exchange.mmrec import MmrecData, MmrecReport, read_mmrec, write_mmrec

__all__ = [
    "ClipRetrievalReport",
    "Embedded",
    "FaissReport",
    "MmrecData",
    "MmrecReport",
    "export_faiss",
    "read_clip_retrieval",
    "read_mmrec",
    "write_clip_retrieval",
    "write_mmrec",
]
