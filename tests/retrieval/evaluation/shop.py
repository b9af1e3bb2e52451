"""A shop of 100 things, three quarters with a picture, some with titles that mean harm; users like one colour each."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.index import IndexConfig
from retrieval.candidates import Candidates
from retrieval.evaluation import Evaluation, evaluate
from retrieval.retriever.retriever import Retriever
from tests.toy import COLOURS, ToyEncoder, picture

THINGS = 25
RIGHT_TO_LEFT = "\u202e"
HOSTILE = (
    "<script>window.pwned = 1</script>",
    "\"><img src=x onerror='window.pwned = 1'>",
    "' onmouseover='window.pwned = 1",
    "</title></svg></style><script src='http://127.0.0.1:9/x.js'></script>",
    f"{RIGHT_TO_LEFT}gnp.exe",
    "<link rel=stylesheet href=//127.0.0.1:9/x.css> $title &lt; ${heading}",
)


def shop_table() -> pa.Table:
    """Every colour with every thing; white ones have no picture, and some titles mean harm."""
    rows = [
        {
            "item_id": f"{colour}-{number}",
            "title": f"{colour} thing{number} {HOSTILE[number] if number < len(HOSTILE) else ''}".strip(),
            "image": None if colour == "white" else picture(colour, size=20 + number),
            "price": number,
            "colour": colour,
        }
        for number in range(THINGS)
        for colour in COLOURS
    ]
    return pa.Table.from_pylist(rows)


class Row(NamedTuple):
    """A slice as a report takes it."""

    name: str
    value: str
    queries: int
    means: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


class Shop:
    """The shop as a bundle, with ten users who want more of a colour that they have a little of."""

    def __init__(self, folder: Path) -> None:
        self.items = folder / "items.parquet"
        pq.write_table(shop_table(), self.items)
        self.catalogue = Catalogue.from_parquet(self.items)
        config = IndexConfig(kind="flat")
        build_bundle(self.catalogue, ToyEncoder(), folder / "shop", index=config)
        self.retriever = Retriever.load(folder / "shop", ToyEncoder())
        rng = np.random.default_rng(0)
        picks = [
            [f"{list(COLOURS)[user % 4]}-{number}" for number in rng.permutation(THINGS)[:8]] for user in range(10)
        ]
        self.histories = [pick[:4] for pick in picks]
        self.relevant = [pick[4:] for pick in picks]
        self.users = [f"user {number} {HOSTILE[number % len(HOSTILE)]}" for number in range(10)]

    def found(self) -> Candidates:
        return self.retriever.recommend(self.histories, 20, user_ids=self.users)

    def measured(self) -> Evaluation:
        return evaluate(self.found(), self.relevant)
