"""Does subtracting each modality's mean before fusing help? Search and cold recommendation, raw against centred.

python -m scripts.research.centring DATA

DATA holds openclip_vitb32_500 and movielens_100k, which are not shipped. A mean is always taken over other rows than
those that are asked for. A gain is the difference to the first way of its table, with its 95 % bootstrap interval.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.encoders import load_encoder
from indexing.media.images import ImageLimits, UnusableImage, decode_picture
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.models.user_model import UserModel
from scripts.benchmarks.record import keep

SEED = 0
DEPTHS = (1, 5, 10)

Taste = Callable[[Vectors, Sequence[Rows]], Vectors]


@dataclass(frozen=True, eq=False)
class Cloud:
    """Unit vectors (N, D) of one modality, and which exist."""

    vectors: Vectors
    exists: Mask

    def mean(self, among: Mask) -> Vectors:
        """Mean of some of the rows: (D,) float32."""
        mean: Vectors = self.vectors[among & self.exists].mean(axis=0)
        return mean

    def centred(self, among: Mask) -> "Cloud":
        """Subtract the mean of some of the rows, and scale to unit length again."""
        return replace(self, vectors=unit((self.vectors - self.mean(among)) * self.exists[:, None]))


def main() -> None:
    """Measure everything and keep it."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    data = Path(sys.argv[1])
    films = Films(data / "movielens_100k")
    result = {
        "openclip, text and image search": openclip(data / "openclip_vitb32_500"),
        "films, search by title and by another picture (pocket)": films.search(),
        "films, cold recommendation, recall@20 / ndcg@20": films.cold(),
    }
    keep("centring", result, seed=SEED)


def openclip(folder: Path) -> dict[str, Any]:
    """Search 500 pairs both ways, and a gallery in which each item has one modality only."""
    everything = np.ones(500, np.bool_)
    texts, images = (
        Cloud(unit(np.load(folder / f"{what}_emb.npy", allow_pickle=False)), everything) for what in ("text", "image")
    )
    fold = np.random.default_rng(SEED).permutation(500) % 2
    only_text = np.random.default_rng(SEED + 1).permutation(500) % 2 == 0
    ranks: dict[str, dict[str, Rows]] = {"text to image": {}, "image to text": {}, "one modality an item": {}}
    own: dict[str, list[float]] = {}
    for name in ("raw", "centred"):
        for kind in ranks:
            ranks[kind][name] = np.zeros(500, np.int64)
        for asked in (0, 1):
            rows = np.flatnonzero(fold == asked)
            t, i = (c if name == "raw" else c.centred(fold != asked) for c in (texts, images))
            ranks["text to image"][name][rows] = ranks_of(t.vectors[rows] @ i.vectors.T, rows)
            ranks["image to text"][name][rows] = ranks_of(i.vectors[rows] @ t.vectors.T, rows)
            gallery = np.where(only_text[:, None], t.vectors, i.vectors)
            queries = np.where(only_text[:, None], i.vectors, t.vectors)[rows]
            scores = queries @ gallery.T
            ranks["one modality an item"][name][rows] = ranks_of(scores, rows)
            top = np.argsort(-scores, axis=1)[:, :10]
            own.setdefault(name, []).append(float((only_text[top] != only_text[rows][:, None]).mean()))
    summary: dict[str, Any] = {kind: compare(of_kind) for kind, of_kind in ranks.items()}
    shares = {name: round(float(np.mean(values)), 3) for name, values in own.items()}
    return summary | {"one modality an item: share of top 10 in the query's own modality": shares}


def ranks_of(scores: Vectors, wanted: Rows) -> Rows:
    """Rank of the wanted column of each line, from 0; ties count against it."""
    right = scores[np.arange(len(scores)), wanted][:, None]
    ranks: Rows = (scores >= right).sum(axis=1) - 1
    return ranks


def compare(ranks: Mapping[str, Rows]) -> dict[str, Any]:
    """Recall at each depth for each way, and the gain over raw with its 95 % interval."""
    summary: dict[str, Any] = {}
    for name, of_way in ranks.items():
        hits = np.stack([of_way < depth for depth in DEPTHS], axis=1).astype(np.float64)
        summary[name] = {
            f"R@{depth}": round(float(value), 4) for depth, value in zip(DEPTHS, hits.mean(axis=0), strict=True)
        }
        if name != "raw":
            gains = hits - np.stack([ranks["raw"] < depth for depth in DEPTHS], axis=1)
            summary[name]["gain"] = {f"R@{d}": interval(gains[:, place]) for place, d in enumerate(DEPTHS)}
    return summary


def interval(gains: NDArray[np.float64]) -> list[float]:
    """Mean, and 95 % bootstrap interval over queries or users."""
    low, high = bootstrap_intervals(gains[:, None], seed=SEED)[0]
    return [round(float(value), 4) for value in (gains.mean(), low, high)]


class Films:
    """MovieLens: texts, posters, and who liked what."""

    def __init__(self, folder: Path) -> None:
        self.table = pq.read_table(folder / "items.parquet").to_pydict()
        self.log = pq.read_table(folder / "interactions.parquet").to_pydict()
        self.given = pq.read_table(folder / "vectors.parquet").to_pydict()
        self.rows = {item_id: row for row, item_id in enumerate(self.table["item_id"])}
        self.is_cold = np.array(self.table["cold_item"], np.bool_)
        encoder = load_encoder("pocket")
        self.titles = Cloud(encoder.encode_texts(self.table["title"]), np.ones(len(self.rows), np.bool_))
        plots = [
            f"{plot or ''} {' '.join(genres or ())}".strip()
            for plot, genres in zip(self.table["description"], self.table["genres"], strict=True)
        ]
        self.plots = Cloud(encoder.encode_texts(plots), np.array([bool(plot) for plot in plots]))
        self.posters, self.others = (self._pictures(encoder, name) for name in ("image", "image_alt"))

    def _pictures(self, encoder: Any, name: str) -> Cloud:  # noqa: ANN401
        pictures = {}
        for row, data in enumerate(self.table[name]):
            try:
                if data:
                    pictures[row] = decode_picture(data, ImageLimits())
            except UnusableImage:
                continue
        vectors = np.zeros((len(self.rows), encoder.info.dim), np.float32)
        vectors[list(pictures)] = encoder.encode_images(list(pictures.values()))
        return Cloud(vectors, np.asarray(vectors.any(axis=1), np.bool_))

    def search(self) -> dict[str, Any]:
        """Find a film, fused from plot and poster, by its title and by another of its pictures."""
        count = len(self.rows)
        fold = np.random.default_rng(SEED).permutation(count) % 2
        summary: dict[str, Any] = {}
        for kind, queries, like in (
            ("title to film", self.titles, self.plots),
            ("other picture to film", self.others, self.posters),
        ):
            asked = np.flatnonzero(queries.exists & (self.plots.exists | self.posters.exists))
            ways: dict[str, Rows] = {}
            for half in (0, 1):
                rows, others = asked[fold[asked] == half], fold != half
                raw = fused(self.plots, self.posters)
                items = fused(self.plots.centred(others), self.posters.centred(others))
                known = unit(queries.vectors - like.mean(others))
                for name, vectors, q in (
                    ("raw", raw, queries.vectors),
                    ("items centred", items, queries.vectors),
                    ("items centred, queries by the mean of the items' modality", items, known),
                    ("items centred, queries by the mean of queries", items, queries.centred(others).vectors),
                ):
                    way = ways.setdefault(name, np.zeros(count, np.int64))
                    way[rows] = ranks_of(q[rows] @ vectors.T, rows)
            summary[kind] = compare({name: ranks[asked] for name, ranks in ways.items()}) | {"queries": len(asked)}
        return summary

    def cold(self) -> dict[str, Any]:
        """Recommend films that nobody has seen to users who liked one of them."""
        everything = np.ones(len(self.rows), np.bool_)
        given = {name: self._given(f"{name}_vector") for name in ("text", "image")}
        sources = {
            "MiniLM text": [given["text"]],
            "MobileNet poster": [given["image"]],
            "MiniLM text beside MobileNet poster (concatenated)": list(given.values()),
            "pocket text": [self.plots],
            "pocket text and poster, fused": [self.plots, self.posters],
        }
        summary: dict[str, Any] = {}
        for source, clouds in sources.items():
            join = concatenated if "concatenated" in source else fused
            raw = join(*clouds)
            centred = join(*(cloud.centred(everything & ~self.is_cold) for cloud in clouds))
            whole = Cloud(raw, everything).centred(~self.is_cold).vectors
            summary[source] = {}
            for weighting, users in (("all alike", UserModel(half_life=1e9)), ("half-life 10", UserModel())):
                ways = {
                    "taste centred (as served)": self._judge(raw, users.taste),
                    "nothing centred": self._judge(raw, partial(plain_taste, users)),
                    "each modality centred": self._judge(centred, partial(plain_taste, users)),
                    "fused vector centred": self._judge(whole, partial(plain_taste, users)),
                }
                base = ways["taste centred (as served)"]
                summary[source][f"history weighted {weighting}"] = {
                    name: {
                        "recall@20": round(float(values[0].mean()), 4),
                        "ndcg@20": round(float(values[1].mean()), 4),
                        "recall gain": interval(values[0] - base[0]),
                    }
                    for name, values in ways.items()
                }
        return summary | {"users": len(base[0]), "cold films": int(self.is_cold.sum())}

    def _given(self, name: str) -> Cloud:
        of_item = dict(zip(self.given["item_id"], self.given[name], strict=True))
        found = [of_item.get(item_id) for item_id in self.rows]
        dim = len(next(vector for vector in found if vector is not None))
        vectors = unit(np.array([np.zeros(dim) if vector is None else vector for vector in found], np.float32))
        return Cloud(vectors, np.asarray(vectors.any(axis=1), np.bool_))

    def _judge(self, vectors: Vectors, taste: Taste) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Recall@20 and ndcg@20 of each user among the cold films; histories are what was liked before the test."""
        history: dict[str, list[tuple[int, int]]] = {}
        liked: dict[str, set[int]] = {}
        log = zip(*(self.log[name] for name in ("user_id", "item_id", "timestamp", "rating")), strict=True)
        for (user, item, time, rating), split in zip(log, self.log["split_user"], strict=True):
            row = self.rows[item]
            if rating >= 4 and self.is_cold[row]:
                liked.setdefault(user, set()).add(row)
            elif rating >= 4 and split != "test":
                history.setdefault(user, []).append((time, row))
        users = [user for user in liked if user in history]
        lists = [np.array([row for _, row in sorted(history[user], key=lambda pair: pair[0])]) for user in users]
        tastes = taste(vectors, lists)
        cold = np.flatnonzero(self.is_cold)
        top = cold[np.argsort(-(tastes @ vectors[cold].T), axis=1, kind="stable")[:, :20]]
        gains = 1 / np.log2(np.arange(2, 22))
        recall, ndcg = np.zeros(len(users)), np.zeros(len(users))
        for line, user in enumerate(users):
            hit = np.isin(top[line], list(liked[user]))
            recall[line] = hit.sum() / len(liked[user])
            ndcg[line] = gains[hit].sum() / gains[: len(liked[user])].sum()
        return recall, ndcg


def plain_taste(users: UserModel, vectors: Vectors, histories: Sequence[Rows]) -> Vectors:
    """Give the taste of each history without subtracting anything."""
    return unit(np.stack([users.weights(len(rows)) @ vectors[rows[-users.longest :]] for rows in histories]))


def fused(*clouds: Cloud) -> Vectors:
    """Average what exists, as `indexing.store.collect.fuse` does."""
    return unit(np.sum([cloud.vectors * cloud.exists[:, None] for cloud in clouds], axis=0))


def concatenated(*clouds: Cloud) -> Vectors:
    """Put vectors of different spaces side by side."""
    return unit(np.concatenate([cloud.vectors * cloud.exists[:, None] for cloud in clouds], axis=1))


if __name__ == "__main__":
    main()
