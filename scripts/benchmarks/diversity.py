"""What variety costs: relevance against diversity, coverage and calibration on MovieLens 100k, for every method.

python -m scripts.benchmarks.diversity DATA [--lists FOLDER]

DATA as for scripts.benchmarks.baselines. Lists are the top 100 of the behaviour block (scripts.benchmarks.learning,
seed 0) for the users of split_user, of which 20 are picked; --lists keeps them, so that a second run need not learn.
Diversity is 1 - the mean cosine over pairs, by centred text vectors and by genres, so that no method is judged by its
own yardstick alone; "nearest" is 1 - the largest cosine with another hit, by genres. Curves are measured on valid. Of
each method the setting with most diversity by genres is taken that there loses at most 1.5 % of ndcg@20 and no
coverage, and measured on test, with 95 % bootstrap intervals of the difference over users.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.encoders.base import unit
from indexing.types import Rows, Vectors
from retrieval.attribute import Attribute
from retrieval.candidates import Candidates
from retrieval.diversify import DPP, MMR, MSD, Calibrated, Cap, Objective, Relevant, diversified
from retrieval.evaluation import evaluate
from retrieval.evaluation.splits import Split
from retrieval.evaluation.variety import calibration, diversity
from retrieval.training.serving import Serving, served
from scripts.benchmarks.baselines import Films, ask, interval
from scripts.benchmarks.film_content import centred, described_by
from scripts.benchmarks.learning import Content, valid_of
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import SEED, K

DEPTH = 100
STRENGTHS = (0.05, 0.07, 0.1, 0.2, 0.3, 0.4, 0.6)
SHARP = (1.0, 4.0)
CAPS = (4, 6, 8, 10, 12)
MOST_LOST = 0.015
PAIRED = ("ndcg@20", "text", "genres", "nearest")
Way = Callable[[Candidates], Candidates]


def main() -> None:
    """Measure the curves on valid, choose, and measure what was chosen on test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--lists", type=Path)
    given = parser.parse_args()
    films = Films(given.data)
    content = Content(films, films.texts, described_by(given.data, films.items), given.data)
    judge = Judge.of(given.data, films)
    made = Made(content, given.lists)
    asked = made.lists("valid", valid_of(films, "split_user"))
    curves = {name: [told(judge, asked, one) for one in ways.items()] for name, ways in judge.methods().items()}
    base = told(judge, asked, ("relevance", plain))
    chosen = {name: best(curve, base) for name, curve in curves.items()}
    final = made.lists("test", films.cut("split_user"))
    result = {
        "serving, chosen on valid": made.serving,
        "valid": {"relevance": base, "at random": at_random(judge, asked), **curves},
        "chosen on valid": chosen,
        "test": {"relevance": told(judge, final, ("relevance", plain))}
        | {name: compared(judge, final, judge.methods()[name][one]) for name, one in chosen.items() if one},
    }
    keep("diversity", result, seed=SEED, script="diversity")


@dataclass(frozen=True, eq=False)
class Lists:
    """Candidates, and what should be found."""

    candidates: Candidates
    relevant: tuple[frozenset[str], ...]


class Made:
    """Lists of the behaviour block, as it was chosen to be served on valid; made once when there is a folder."""

    def __init__(self, content: Content, folder: Path | None) -> None:
        self.content, self.folder = content, folder

    @cached_property
    def serving(self) -> Serving:
        """How the block is served."""
        kept = self.folder / "serving.json" if self.folder else None
        if kept and kept.exists():
            return dict(json.loads(kept.read_text()))
        found = self.content.choose(valid_of(self.content.films, "split_user"))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found))
        return found

    def lists(self, name: str, split: Split) -> Lists:
        """Fit on the past of a split and recommend."""
        asked, serving = ask(split, self.content.films), self.serving
        kept = self.folder / f"{name}.npz" if self.folder else None
        if kept and kept.exists():
            with np.load(kept) as read:
                rows, scores = read["rows"], read["scores"]
        else:
            model = served(self.content.fit(split.past, SEED), serving)
            rows, scores = self.content.answer(model, asked, depth=DEPTH)
            if kept:
                np.savez(kept, rows=rows, scores=scores)
        return Lists(asked.candidates(rows, scores, "retrieve"), asked.relevant)


@dataclass(frozen=True, eq=False)
class Judge:
    """What lists are judged by.

    Attributes:
        texts: (N, D) float32, centred.
        genres: Of each film.
        kinds: (N, G) float32, the genres as unit vectors.
    """

    texts: Vectors
    genres: Attribute
    kinds: Vectors

    @classmethod
    def of(cls, folder: Path, films: Films) -> "Judge":
        """Read the films."""
        genres = Attribute.named(pq.read_table(folder / "items.parquet"), "genres")
        each = genres.shares([np.array([row]) for row in range(len(films.items))])
        return cls(centred(folder, films.items, "text_vector"), genres, unit(each))

    def methods(self) -> dict[str, dict[str, Way]]:
        """Give all settings of all methods."""
        found: dict[str, dict[str, Way]] = {}
        for kind in (MMR, MSD, DPP):
            for of, vectors in (("texts", self.texts), ("genres", self.kinds)):
                found[f"{kind.__name__} of {of}"] = {
                    f"strength {strength:g}, sharpness {sharp:g}": picked(kind(vectors, strength, sharp))
                    for sharp in SHARP
                    for strength in STRENGTHS
                }
        found["calibrated to genres"] = {f"strength {s:g}": picked(Calibrated(self.genres, s)) for s in STRENGTHS}
        found["at most n of a genre"] = {f"n {n}": picked(Relevant(), Cap(self.genres, n)) for n in CAPS}
        return found

    def measure(self, found: Candidates, relevant: tuple[frozenset[str], ...]) -> dict[str, NDArray[np.float64]]:
        """Measure every list; coverage is one number."""
        judged = evaluate(found, relevant, measures=["ndcg@20", "recall@20"])
        return judged.per_query | {
            "text": diversity(found.rows, self.texts, K),
            "genres": diversity(found.rows, self.kinds, K),
            "nearest": nearest(found.rows, self.kinds),
            "calibration": calibration(found.rows, found.histories, self.genres, K),
            "coverage@20": np.array([judged.coverage["coverage@20"]]),
        }


def picked(objective: Objective, *caps: Cap) -> Way:
    """Pick the first 20."""
    return lambda found: diversified(found, objective, K, caps=caps).top(K)


def plain(found: Candidates) -> Candidates:
    """Keep the order."""
    return found.top(K)


def nearest(rows: Rows, vectors: Vectors) -> NDArray[np.float64]:
    """Give for each list 1 - the mean, over its hits, of the largest cosine with another hit: (B,) float64."""

    def each() -> Iterator[float]:
        for line in rows[:, :K]:
            cosines = vectors[line] @ vectors[line].T
            np.fill_diagonal(cosines, -1)
            yield 1 - float(cosines.max(axis=1).mean())

    return np.array(list(each()))


def told(judge: Judge, asked: Lists, way: tuple[str, Way]) -> dict[str, Any]:
    """Measure one setting."""
    measured = judge.measure(way[1](asked.candidates), asked.relevant)
    return {"setting": way[0]} | {name: round(float(np.nanmean(values)), 4) for name, values in measured.items()}


def best(curve: list[dict[str, Any]], base: dict[str, Any]) -> str:
    """Name the setting of most diversity by genres among those that lose little; empty when all lose more."""
    least = (1 - MOST_LOST) * base["ndcg@20"]
    fit = [one for one in curve if one["ndcg@20"] >= least and one["coverage@20"] >= base["coverage@20"]]
    return str(max(fit, key=lambda one: one["genres"])["setting"]) if fit else ""


def compared(judge: Judge, asked: Lists, way: Way) -> dict[str, Any]:
    """Measure one setting against the order by relevance: change of the mean as a share, with its interval."""
    before = judge.measure(plain(asked.candidates), asked.relevant)
    after = judge.measure(way(asked.candidates), asked.relevant)
    users = np.arange(len(asked.candidates))
    result: dict[str, Any] = {name: round(float(np.nanmean(values)), 4) for name, values in after.items()}
    for name in PAIRED:
        change = np.nan_to_num(after[name] - before[name]) / np.nanmean(before[name])
        result[f"{name}, change"] = interval(change, users)
    result["coverage@20, change"] = round(float(after["coverage@20"][0] / before["coverage@20"][0] - 1), 4)
    return result


def at_random(judge: Judge, asked: Lists) -> dict[str, Any]:
    """Measure lists drawn from the whole catalogue: how varied is as varied as the films are."""
    rng = np.random.default_rng(SEED)
    rows = np.stack([rng.permutation(len(judge.texts))[:K] for _ in asked.relevant])
    drawn = replace(asked.candidates, rows=rows, scores=np.zeros(rows.shape, np.float32))
    return told(judge, Lists(drawn, asked.relevant), ("at random", plain))


if __name__ == "__main__":
    main()
