"""Bundles in object storage, and files of other tools: clip-retrieval, MMRec, plain FAISS, tables of LanceDB."""

from indexing.exchange.array_files import Embedded
from indexing.exchange.clip_retrieval import ClipRetrievalReport, read_clip_retrieval, write_clip_retrieval
from indexing.exchange.faiss_export import FaissReport, export_faiss
from indexing.exchange.lance_tables import LanceReport, LanceTable, export_lance
from indexing.exchange.mmrec import MmrecData, MmrecReport, read_mmrec, write_mmrec
from indexing.exchange.object_storage.pull import PullReport, pull_bundle, pushed_states
from indexing.exchange.object_storage.push import PushReport, push_bundle
from indexing.exchange.object_storage.state import PushedState

__all__ = [
    "ClipRetrievalReport",
    "Embedded",
    "FaissReport",
    "LanceReport",
    "LanceTable",
    "MmrecData",
    "MmrecReport",
    "PullReport",
    "PushReport",
    "PushedState",
    "export_faiss",
    "export_lance",
    "pull_bundle",
    "push_bundle",
    "pushed_states",
    "read_clip_retrieval",
    "read_mmrec",
    "write_clip_retrieval",
    "write_mmrec",
]
