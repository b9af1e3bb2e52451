"""What an item should be when its text and picture are from different spaces: side by side, centred, weighed, cut.

python -m scripts.benchmarks.encode.spaces DATA

DATA holds movielens_100k, which is not shipped; its test parts and cold films are not read. Unseen films: half of the
films in five random folds, each in turn hidden from all histories of train and valid and ranked alone for the users who
liked one of it. Seen films: histories of train, all others ranked, what was liked in valid is to be found. Recall@20; a
gain is the difference to plain vectors side by side, with its 95 % bootstrap interval over users.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import Columns
from indexing.catalogue.readers.base import TableReader
from indexing.encoders.alignment.separate_spaces import Spaces, learn_spaces
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse
from retrieval.models.user_model import UserModel
from scripts.benchmarks.record import keep
from scripts.research.centring import Cloud, concatenated, interval

SEED, K = 0, 20
FOLDS, SHARE_HIDDEN, SHARE_REMOVED = 5, 0.5, 0.3
PLAIN = "plain, side by side"
MODALITIES = (Modality.TEXT, Modality.IMAGE)
Users = Sequence[tuple[Rows, Rows]]


def main() -> None:
    """Measure everything and keep it."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    films = Films(Path(sys.argv[1]) / "movielens_100k")
    gone = np.random.default_rng(SEED + 1).random(len(films.rows)) < SHARE_REMOVED
    result: dict[str, Any] = {"cosines of pairs, root mean square error": cut_off(films.clouds)}
    for what, removed in (("everything there", None), ("30 % of pictures removed", 1), ("30 % of texts removed", 0)):
        clouds = list(films.clouds)
        if removed is not None:  # never the only thing that a film has
            own, other = clouds[removed], clouds[1 - removed]
            clouds[removed] = Cloud(own.vectors, own.exists & ~(gone & other.exists))
        result[what] = films.judged(ways(clouds), clouds)
    keep("spaces", result, seed=SEED)


def ways(clouds: Sequence[Cloud]) -> dict[str, Vectors]:
    """Give the item vectors of each way of putting texts and pictures together."""
    everything = np.ones(len(clouds[0].exists), np.bool_)
    centred = [cloud.centred(everything) for cloud in clouds]
    weights = [float(np.sqrt(1 - (cloud.mean(everything) ** 2).sum())) for cloud in clouds]
    weighed = [Cloud(cloud.vectors * w, cloud.exists) for cloud, w in zip(centred, weights, strict=True)]
    found = {
        PLAIN: concatenated(*clouds),
        "centred, weighed alike": concatenated(*centred),
        "centred, weighed by what is left": concatenated(*weighed),
        "text alone, centred": centred[0].vectors * centred[0].exists[:, None],
        "picture alone, centred": centred[1].vectors * centred[1].exists[:, None],
    }
    return found | {f"vectors:separate:{most}": served(clouds, most) for most in (64, 128, 256)}


def cut_off(clouds: Sequence[Cloud]) -> dict[str, Any]:
    """Compare the cosines within each part with those of the centred vectors, over all pairs of different films."""
    errors: dict[str, Any] = {}
    for most in (64, 128, 256):
        spaces = learned(clouds, most)
        for modality, cloud in zip(MODALITIES, clouds, strict=True):
            mapped = spaces.apply(modality, cloud.vectors[cloud.exists])
            exact = cloud.centred(cloud.exists).vectors[cloud.exists]
            wrong = (mapped @ mapped.T - exact @ exact.T)[~np.eye(len(exact), dtype=np.bool_)]
            errors[f"{modality}, {most} axes"] = round(float(np.sqrt((wrong.astype(np.float64) ** 2).mean())), 4)
    return errors


def learned(clouds: Sequence[Cloud], most: int) -> Spaces:
    """Learn maps of at most so many dimensions from a catalogue of the vectors."""
    columns = {
        f"{modality}_vector": pa.array(
            [vector if there else None for vector, there in zip(cloud.vectors, cloud.exists, strict=True)]
        )
        for modality, cloud in zip(MODALITIES, clouds, strict=True)
    }
    table = pa.table({"item_id": [str(row) for row in range(len(clouds[0].exists))], **columns})
    catalogue = Catalogue(TableReader("films", table), Columns("item_id", (), None, vectors=tuple(columns)), Path())
    return learn_spaces(catalogue, {m: c.vectors.shape[1] for m, c in zip(MODALITIES, clouds, strict=True)}, most)


def served(clouds: Sequence[Cloud], most: int) -> Vectors:
    """Give the item vectors of a bundle built with maps of at most so many dimensions."""
    spaces = learned(clouds, most)
    vectors = {m: np.zeros((len(clouds[0].exists), spaces.dim), np.float16) for m in MODALITIES}
    for modality, cloud in zip(MODALITIES, clouds, strict=True):
        mapped = spaces.apply(modality, cloud.vectors[cloud.exists])
        vectors[modality][cloud.exists] = mapped.astype(np.float16)
    exists = {m: cloud.exists for m, cloud in zip(MODALITIES, clouds, strict=True)}
    return fuse(ModalityVectors(vectors, exists, dict(zip(MODALITIES, spaces.weights, strict=True))))


class Films:
    """MovieLens: vectors of texts and posters, and who rated what, without the test parts."""

    def __init__(self, folder: Path) -> None:
        given = pq.read_table(folder / "vectors.parquet").to_pydict()
        self.rows = {item_id: row for row, item_id in enumerate(given["item_id"])}
        self.clouds = [_cloud(given[f"{name}_vector"]) for name in ("text", "image")]
        log = pq.read_table(folder / "interactions.parquet").to_pandas().sort_values("timestamp", kind="stable")
        self.log = log[log.split_user.isin(["train", "valid"]) & ~log.cold_item]
        self.log = self.log.assign(row=self.log.item_id.map(self.rows))

    def judged(self, found: Mapping[str, Vectors], clouds: Sequence[Cloud]) -> dict[str, Any]:
        """Measure each way on unseen and on seen films."""
        hidden = {name: self._unseen(vectors) for name, vectors in found.items()}
        seen = {name: self._seen(vectors) for name, vectors in found.items()}
        one: Mask = np.sum([cloud.exists for cloud in clouds], axis=0) == 1
        return {
            name: {
                "unseen": round(float(hidden[name].mean()), 4),
                "unseen, gain": interval(hidden[name] - hidden[PLAIN]),
                "seen": round(float(seen[name].mean()), 4),
                "seen, gain": interval(seen[name] - seen[PLAIN]),
                "films of one modality among the 10 nearest of those with two": round(_share(vectors, one), 3),
            }
            for name, vectors in found.items()
        } | {"users": {"unseen": len(hidden[PLAIN]), "seen": len(seen[PLAIN])}, "of one modality": round(one.mean(), 3)}

    def _unseen(self, vectors: Vectors) -> NDArray[np.float64]:
        known = np.random.default_rng(SEED).permutation(np.unique(self.log.row))
        recalls = []
        for fold in np.array_split(known[: int(len(known) * SHARE_HIDDEN)], FOLDS):
            hidden = self.log.row.isin(fold)
            users = self._users(self.log[~hidden], self.log[hidden & (self.log.rating >= 4)])
            recalls.append(recall(vectors, users, fold, seen=False))
        return np.concatenate(recalls)

    def _seen(self, vectors: Vectors) -> NDArray[np.float64]:
        past, later = (self.log[self.log.split_user == part] for part in ("train", "valid"))
        return recall(vectors, self._users(past, later[later.rating >= 4]), np.arange(len(vectors)), seen=True)

    def _users(self, past: Any, wanted: Any) -> Users:  # noqa: ANN401
        histories = {user: rows.to_numpy(np.int64) for user, rows in past.groupby("user_id").row}
        liked = {user: np.unique(rows) for user, rows in wanted.groupby("user_id").row}
        return [(histories[user], liked[user]) for user in sorted(liked) if user in histories]


def recall(vectors: Vectors, users: Users, among: Rows, *, seen: bool) -> NDArray[np.float64]:
    """Recall@20 of each user among some films, without those of the history where they can be among them."""
    tastes = UserModel().taste(vectors, [history for history, _ in users], vectors.mean(axis=0))
    scores = tastes @ vectors[among].T
    found = []
    for line, (history, liked) in enumerate(users):
        if seen:
            scores[line, history] = -np.inf
        top = among[np.argsort(-scores[line], kind="stable")[:K]]
        found.append(float(np.isin(liked, top).mean()))
    return np.array(found)


def _share(vectors: Vectors, one: Mask) -> float:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    top = np.argsort(-scores[~one], axis=1, kind="stable")[:, :10]
    return float(one[top].mean())


def _cloud(given: Sequence[Sequence[float] | None]) -> Cloud:
    dim = max(len(vector) for vector in given if vector is not None)
    vectors = np.array([np.zeros(dim) if vector is None else vector for vector in given], np.float32)
    return Cloud(unit(vectors), np.array([vector is not None for vector in given]))


if __name__ == "__main__":
    main()
