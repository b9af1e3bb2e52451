"""What learning costs search: recall@10 of finding an item by its text or its picture, before and after `fit`.

    python -m scripts.benchmarks.fit.search_kept --pairs PAIRS [--bundle BUNDLE]

PAIRS is a folder with `image_emb.npy` and `text_emb.npy`; BUNDLE one with texts and pictures. Items have both or only
one of them, and are asked for by their texts and by their pictures. Users are simulated: each takes items near two of
the catalogue in eight directions drawn at random, which search would rather not have. With the pairs there is a second
run in which nothing holds the adapter near the frozen vectors (`stay` = 0) but the bound on what search may lose.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.media.files import Modality
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.training.config import AdapterConfig
from scripts.benchmarks.index.geometry import read_pairs
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
        for held in ([Modality.IMAGE], [Modality.TEXT], list(vectors)):
            ways = {"as by default": AdapterConfig().anchor_weight} | ({"stay 0": 0.0} if name == "real pairs" else {})
            for way, stay in ways.items():
                row = measured(vectors, held, stay, given.seed)
                result.setdefault(name, {})[f"items with {' and '.join(held)}, {way}"] = row
                print(name, *held, way, row, flush=True)
    keep("search_kept", result, given.seed)


def measured(vectors: dict[Modality, Vectors], held: list[Modality], stay: float, seed: int) -> dict[str, Any]:
    """Build a bundle of items with some modalities, learn from simulated users, and search before and after."""
    rng = np.random.default_rng(seed)
    count, dim = vectors[held[0]].shape
    asked = rng.permutation(count)[:QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        path, root = Path(folder, "items.parquet"), Path(folder, "bundle")
        flat = {f"{modality}_vector": pa.array(vectors[modality].reshape(-1)) for modality in held}
        columns = {name: pa.FixedSizeListArray.from_arrays(values, dim) for name, values in flat.items()}
        pq.write_table(pa.table({"item_id": [f"i{n}" for n in range(count)], **columns}), path)
        build_bundle(Catalogue.from_parquet(path), load_encoder("vectors:"), root)
        before = recalls(Retriever.open(root), vectors, asked)
        adapter = replace(AdapterConfig(), anchor_weight=stay)
        log = simulated(vectors[held[0]], rng)
        report = fit(root, log, FitConfig(adapter=adapter, reranker=None, exposure_floor=1.0))
        learned = Bundle.open(root).manifest.learned
        after = recalls(Retriever.open(root), vectors, asked)
    return {
        "published": report.published,
        "ndcg@10": report.ndcg,
        "strength of the adapter": learned.get("training", {}).get("adapter", {}).get("strength"),
        "recall@10 before": before,
        "recall@10 after": after,
        "kept": {name: round(after[name] / before[name], 4) for name in before},
    }


def recalls(retriever: Retriever, vectors: dict[Modality, Vectors], rows: Rows) -> dict[str, float]:
    """Give recall@10 of the own item, asked for by its text and by its picture."""
    return {
        f"by {modality}": round(
            float((retriever.search_vectors(asked[rows], K).rows == rows[:, None]).any(axis=1).mean()), 4
        )
        for modality, asked in vectors.items()
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
