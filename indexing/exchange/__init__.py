"""Files of other tools, read and written: clip-retrieval, MMRec, plain FAISS, tables of LanceDB."""

from indexing.exchange.array_files import Embedded
from indexing.exchange.clip_retrieval import ClipRetrievalReport, read_clip_retrieval, write_clip_retrieval
from indexing.exchange.faiss_export import FaissReport, export_faiss
from indexing.exchange.lance_tables import LanceReport, LanceTable, export_lance
from indexing.exchange.mmrec import MmrecData, MmrecReport, read_mmrec, write_mmrec

__all__ = [
    "ClipRetrievalReport",
    "Embedded",
    "FaissReport",
    "LanceReport",
    "LanceTable",
    "MmrecData",
    "MmrecReport",
    "export_faiss",
    "export_lance",
    "read_clip_retrieval",
    "read_mmrec",
    "write_clip_retrieval",
    "write_mmrec",
]
