"""What learning costs search: recall@10 of finding an item by its text or its picture, before and after `fit`.

    python -m scripts.benchmarks.search_kept --pairs PAIRS [--bundle BUNDLE]

PAIRS is a folder with `image_emb.npy` and `text_emb.npy`; BUNDLE one with texts and pictures. Items have one modality
and are asked for by the other, and by the same one ("as is": the item's own frozen vector). Users are simulated: each
takes items near two of the catalogue in eight directions drawn at random. In a second run nothing holds the adapter
near the frozen vectors (`stay` = 0), so that the bound on what search may lose is put to the test.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.build import build_bundle
from indexing.bundle import Bundle
from indexing.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.encoders.base import unit
from indexing.types import Modality, Rows, Vectors
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.training.config import AdapterConfig
from scripts.benchmarks.geometry import read_pairs
from scripts.benchmarks.record import keep

USERS, EACH, NEAR, QUERIES, K = 2000, 20, 40, 2000, 10
DIRECTIONS = 8


def main() -> None:
    """Measure both catalogues and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    images, texts = read_pairs(given.pairs)
    catalogues = {"real pairs": {Modality.TEXT: unit(texts), Modality.IMAGE: unit(images)}}
    if given.bundle:
        frozen = Bundle.open(given.bundle).modality_vectors
        both = np.flatnonzero(frozen.exists[Modality.TEXT] & frozen.exists[Modality.IMAGE])
        catalogues[given.bundle.name] = {m: unit(frozen.vectors[m][both]) for m in (Modality.TEXT, Modality.IMAGE)}
    result: dict[str, Any] = {}
    for name, vectors in catalogues.items():
        for held, asked in ((Modality.IMAGE, Modality.TEXT), (Modality.TEXT, Modality.IMAGE)):
            for way, stay in (("as by default", AdapterConfig().stay), ("nothing holds it", 0.0)):
                row = measured(held, vectors[held], vectors[asked], stay, given.seed)
                result.setdefault(name, {})[f"{asked} to items with a {held}, {way}"] = row
                print(name, asked, held, way, row, flush=True)
    keep("search_kept", result, given.seed, "search_kept")


def measured(held: Modality, items: Vectors, queries: Vectors, stay: float, seed: int) -> dict[str, Any]:
    """Build a bundle of items with one modality, learn from simulated users, and search before and after."""
    rng = np.random.default_rng(seed)
    asked = rng.permutation(len(items))[:QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        path, root = Path(folder, "items.parquet"), Path(folder, "bundle")
        column = pa.FixedSizeListArray.from_arrays(pa.array(items.reshape(-1)), items.shape[1])
        names = [f"i{n}" for n in range(len(items))]
        pq.write_table(pa.table({"item_id": names, f"{held}_vector": column}), path)
        build_bundle(Catalogue.from_parquet(path), load_encoder("vectors:"), root)
        before = recalls(Retriever.load(root), queries[asked], items[asked], asked)
        adapter = replace(AdapterConfig(), stay=stay)
        report = fit(root, simulated(items, rng), FitConfig(adapter=adapter, head=None, exposure_floor=1.0))
        after = recalls(Retriever.load(root), queries[asked], items[asked], asked)
    kept = {name: round(after[name] / before[name], 4) for name in before}
    return {"published": report.published, "ndcg@10": report.ndcg, "before": before, "after": after, "kept": kept}


def recalls(retriever: Retriever, other: Vectors, same: Vectors, rows: Rows) -> dict[str, float]:
    """Give recall@10 of the own item, asked for by the other modality and by its own vector."""
    found = {"other modality": other, "as is": same}
    return {
        name: round(float((retriever.search_vectors(asked, K).rows == rows[:, None]).any(axis=1).mean()), 4)
        for name, asked in found.items()
    }


def simulated(items: Vectors, rng: np.random.Generator) -> Interactions:
    """Give a log of users who each take some of the items that are nearest to two of the catalogue in a few directions.

    Content has these directions among many others, so there is something to learn that search would rather not have.
    """
    taste = unit(items @ rng.normal(size=(items.shape[1], DIRECTIONS)).astype(np.float32))
    liked = rng.integers(0, len(items), (USERS, 2))
    lines: list[tuple[str, str, int]] = []
    for user, (first, second) in enumerate(liked):
        near = np.concatenate([np.argsort(-(taste @ taste[one]))[:NEAR] for one in (first, second)])
        taken = rng.permutation(np.unique(near))[:EACH]
        lines += [(f"u{user}", f"i{row}", 1000 * place + user) for place, row in enumerate(taken.tolist())]
    names = ("user", "item", "time")
    return Interactions.from_arrow(pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))))


if __name__ == "__main__":
    main()
