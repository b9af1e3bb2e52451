"""The folder that serves: generations, the one that is current, and changes since it was built."""

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle

__all__ = ["Bundle", "build_bundle"]
