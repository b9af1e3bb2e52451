"""The data that ships with the package: public-domain drawings, and simulated users."""

from importlib.resources import files
from pathlib import Path


def items_path() -> Path:
    """Path of the drawings: item_id, title, keywords, category, image bytes, split.

    >>> import pyarrow.parquet as pq
    >>> pq.read_schema(items_path()).names
    ['item_id', 'title', 'keywords', 'category', 'image', 'split']
    """
    return Path(str(files("indexing"))) / "data" / "sample" / "items.parquet"


def interactions_path() -> Path:
    """Path of the log of simulated users: user_id, item_id, timestamp, weight.

    >>> import pyarrow.parquet as pq
    >>> pq.read_table(interactions_path())["user_id"][0].as_py().startswith("simulated-")
    True
    """
    return Path(str(files("indexing"))) / "data" / "sample" / "interactions.parquet"
