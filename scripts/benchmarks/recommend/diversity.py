"""What variety costs: relevance against diversity, coverage and calibration on MovieLens 100k, for every method.

python -m scripts.benchmarks.recommend.diversity DATA --work FOLDER

DATA as for `two_stage`. Lists are the best 100 of `recommend` after `fit` with its defaults (seed 0)
for the users of split_user, of which 20 are picked and stand in the order of relevance; FOLDER keeps them, so that a
second run need not learn. Every list is judged by several yardsticks:

    texts, pictures   1 - the mean cosine over pairs (intra-list distance), of the vectors as the encoder gives them
    texts, centred    the same after the catalogue's mean was taken from them
    genres            the same of genres as unit vectors; and 1 - the mean Jaccard index
    users             the same of who had the item in the past
    least, texts      1 - the largest cosine of any pair, vectors as they are (Chen et al. 2018 call it ILMD)
    number of genres  different ones in the list
    genres@10         genres in the first ten; one method picks these alone, and the others follow in their order

Curves are measured on valid. Of each method the setting is taken that there gives most of what the method is for,
loses at most 1.5 % of ndcg@20 and raises coverage by 2 % and more, and measured on test, with 95 % bootstrap intervals
of the difference over users; beside it the same setting in the order in which items were picked.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit
from retrieval import Candidates, FitConfig
from retrieval.evaluation import evaluate
from retrieval.evaluation.beyond_accuracy import calibration, diversity
from retrieval.evaluation.splits.splits import Split
from retrieval.models.features.attribute_values import Attribute
from retrieval.postprocess.diversify import (
    MMR,
    MSD,
    Calibrated,
    Cap,
    ExposurePenalty,
    Limit,
    MaxSimilarity,
    Objective,
    Relevant,
    diversified,
    exposures,
)
from scripts.benchmarks.recommend.baselines import Films, ask, interval
from scripts.benchmarks.recommend.film_bundle import Fitted, quick, recommended
from scripts.benchmarks.recommend.film_content import as_they_are, centred
from scripts.benchmarks.recommend.kept_lists import Served
from scripts.benchmarks.recommend.peer_models import matrix
from scripts.benchmarks.recommend.systems import SEED, K
from scripts.benchmarks.record import keep

DEPTH = 100
FIRST = 10
APART = (0.42, 0.44, 0.46, 0.47, 0.48, 0.49, 0.5, 0.54)
STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6)
SPREADS = (0.0, 0.03, 0.06)
CAPS = (4, 6, 8, 10, 12)
MOST_LOST = 0.015
LEAST_COVERAGE = 1.02
Way = Callable[[Candidates], Candidates]


def main() -> None:
    """Measure the curves on valid, choose, and measure what was chosen on test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    films = Films(given.data)
    work = given.work / "quick" if given.quick else given.work
    work.mkdir(parents=True, exist_ok=True)
    served = Served(given.data, work, [SEED], quick(FitConfig()) if given.quick else FitConfig())
    split = Split("valid", films.part("split_user", "train"), films.part("split_user", "valid"))
    asked, judge = lists("valid", split, films, served), Judge.of(given.data, films, split)
    base = measure_lists(judge, asked, plain)
    curves = {name: judge.curve(asked, ways) for name, (_, ways) in judge.methods(asked).items()}
    chosen = {name: best(curves[name], base, goal) for name, (goal, _) in judge.methods(asked).items()}
    split = films.cut("split_user")
    final, judge = lists("test", split, films, served), Judge.of(given.data, films, split)
    ways = {name: of_method for name, (_, of_method) in judge.methods(final).items()}
    result = {
        "valid": {"relevance": base, "at random": at_random(judge, asked), **curves},
        "chosen on valid": chosen,
        "test": {"relevance": measure_lists(judge, final, plain)}
        | {name: compared(judge, final, ways[name][one]) for name, one in chosen.items() if one}
        | {
            f"{name}, as picked": compared(judge, final, judge.methods(final, page=None)[name][1][one])
            for name, one in chosen.items()
            if one
        },
    }
    if not given.quick:
        keep("diversity", result | served.state(), seed=SEED)


@dataclass(frozen=True, eq=False)
class Lists:
    """Candidates, and what should be found."""

    candidates: Candidates
    relevant: tuple[frozenset[str], ...]


def lists(name: str, split: Split, films: Films, served: Served) -> Lists:
    """Fit on the past of a split, and recommend."""
    asked = ask(split, films)

    def answers(made: Fitted) -> dict[str, Candidates]:
        return {"all": recommended(made.retriever, split.past, asked, k=DEPTH)}

    ranked = served.lists(f"diversity-{name}", split.past, answers, scores=True).ranked["all"][0]
    return Lists(asked.candidates(*ranked, "rerank"), asked.relevant)


class Yardsticks(Protocol):
    """What measures lists."""

    def measure(self, found: Candidates, relevant: tuple[frozenset[str], ...]) -> dict[str, NDArray[np.float64]]:
        """Measure every list; coverage@20 is one number."""


@dataclass(frozen=True, eq=False)
class Judge:
    """What lists are judged by.

    Attributes:
        vectors: By yardstick, (N, D) float32 of which cosines are taken.
        genres: Of each film.
        shared: (N, N) float32, the Jaccard index of the genres of two films.
    """

    vectors: dict[str, Vectors]
    genres: Attribute
    shared: Vectors

    @classmethod
    def of(cls, folder: Path, films: Films, split: Split) -> "Judge":
        """Read the films, and who had them in the past of a split."""
        genres = Attribute.named(pq.read_table(folder / "items.parquet"), "genres")
        each = genres.shares([np.array([row]) for row in range(len(films.items))])
        has = (each > 0).astype(np.float32)
        both = has @ has.T
        either = has.sum(axis=1)[:, None] + has.sum(axis=1) - both
        who = (matrix(split.past, films.items, sorted(set(split.past.table["user_id"].to_pylist()))) > 0).T
        vectors = {
            "texts": films.texts,
            "texts, centred": centred(folder, films.items, "text_vector"),
            "pictures": as_they_are(folder, films.items, "image_vector"),
            "genres": unit(each.astype(np.float32)),
            "users": unit(who.astype(np.float32)),
        }
        return cls(vectors, genres, both / np.maximum(either, 1))

    def methods(self, asked: Lists, page: int | None = K) -> dict[str, tuple[str, dict[str, Way]]]:
        """Give what each method is for, and all its settings."""
        shown = exposures(asked.candidates, K)

        def curve(
            make: Callable[[float], Objective], steps: Sequence[float] = STRENGTHS, first: int = K
        ) -> dict[str, Way]:
            return {
                f"strength {step:g}, spread {spread:g}": picked(
                    ExposurePenalty(make(step), shown, spread), page and first, k=first
                )
                for spread in SPREADS
                for step in steps
            }

        found: dict[str, tuple[str, dict[str, Way]]] = {}
        for kind, of, goal in (
            (MSD, "genres", "genres"),
            (MMR, "texts", "least, texts"),
            (MMR, "texts, centred", "least, texts"),
            (MSD, "texts, centred", "texts"),
            (MSD, "users", "users"),
        ):
            found[f"{kind.__name__} of {of}"] = goal, curve(partial(kind, self.vectors[of]))
        first = curve(partial(MSD, self.vectors["genres"]), first=FIRST)
        found["MSD of genres, the first ten"] = "genres@10", first
        found["calibrated to genres"] = "genres", curve(partial(Calibrated, self.genres), STRENGTHS[:3])
        return found | self.limits(shown, page)

    def limits(self, shown: NDArray[np.int64], page: int | None) -> dict[str, tuple[str, dict[str, Way]]]:
        """Give what lists may not hold, in all settings."""
        limits: tuple[tuple[str, str, Callable[[float], Limit], Sequence[float]], ...] = (
            ("at most n of a genre", "genres", lambda n: Cap(self.genres, int(n)), CAPS),
            ("texts kept apart", "least, texts", partial(MaxSimilarity, self.vectors["texts"]), APART),
        )
        return {
            name: (
                goal,
                {
                    f"limit {step:g}, spread {spread:g}": picked(
                        ExposurePenalty(Relevant(), shown, spread), page, limit(step)
                    )
                    for spread in SPREADS
                    for step in steps
                },
            )
            for name, goal, limit, steps in limits
        }

    def curve(self, asked: Lists, ways: dict[str, Way]) -> list[dict[str, Any]]:
        """Measure all settings of a method."""
        return [{"setting": name} | measure_lists(self, asked, way) for name, way in ways.items()]

    def measure(self, found: Candidates, relevant: tuple[frozenset[str], ...]) -> dict[str, NDArray[np.float64]]:
        """Measure every list; coverage is one number."""
        judged = evaluate(found, relevant, measures=["ndcg@20", "recall@20", "ndcg@10"])
        rows = found.rows[:, :K]
        alike = self.shared[rows[:, :, None], rows[:, None, :]].sum(axis=(1, 2)) - K
        return (
            judged.per_query
            | {name: diversity(rows, vectors, K) for name, vectors in self.vectors.items()}
            | {
                "genres@10": diversity(rows, self.vectors["genres"], 10),
                "jaccard": 1 - alike / (K * (K - 1)),
                "least, texts": least(rows, self.vectors["texts"]),
                "number of genres": np.count_nonzero(self.genres.shares(list(rows)), axis=1).astype(np.float64),
                "calibration": calibration(rows, found.histories, self.genres, K),
                "coverage@20": np.array([judged.coverage["coverage@20"]]),
            }
        )


def picked(objective: Objective, page: int | None, *caps: Limit, k: int = K) -> Way:
    """Pick the first 20, or fewer; the others of the 20 are those that come next."""
    return lambda found: diversified(found, objective, k, caps=caps, page=page).top(K)


def plain(found: Candidates) -> Candidates:
    """Keep the order."""
    return found.top(K)


def least(rows: Rows, vectors: Vectors) -> NDArray[np.float64]:
    """Give for each list the smallest distance of two hits, 1 - the largest cosine: (B,) float64."""

    def each() -> Iterator[float]:
        for line in rows[:, :K]:
            cosines = vectors[line] @ vectors[line].T
            np.fill_diagonal(cosines, -1)
            yield 1 - float(cosines.max())

    return np.array(list(each()))


def measure_lists(judge: Yardsticks, asked: Lists, way: Way) -> dict[str, Any]:
    """Measure one setting."""
    measured = judge.measure(way(asked.candidates), asked.relevant)
    return {name: round(float(np.nanmean(values)), 4) for name, values in measured.items()}


def best(curve: list[dict[str, Any]], base: dict[str, Any], goal: str) -> str:
    """Name the setting with most of what is wanted among those that lose little; empty when all lose more."""
    floor, covered = (1 - MOST_LOST) * base["ndcg@20"], LEAST_COVERAGE * base["coverage@20"]
    fit = [one for one in curve if one["ndcg@20"] >= floor and one["coverage@20"] >= covered]
    return str(max(fit, key=lambda one: one[goal])["setting"]) if fit else ""


def compared(judge: Yardsticks, asked: Lists, way: Way) -> dict[str, Any]:
    """Measure one setting against the order by relevance: change of the mean as a share, with its interval."""
    before = judge.measure(plain(asked.candidates), asked.relevant)
    after = judge.measure(way(asked.candidates), asked.relevant)
    users = np.arange(len(asked.candidates))
    result: dict[str, Any] = {name: round(float(np.nanmean(values)), 4) for name, values in after.items()}
    for name in (name for name in before if name != "coverage@20"):
        change = np.nan_to_num(after[name] - before[name]) / np.nanmean(before[name])
        result[f"{name}, change"] = interval(change, users)
    result["coverage@20, change"] = round(float(after["coverage@20"][0] / before["coverage@20"][0] - 1), 4)
    return result


def at_random(judge: Judge, asked: Lists) -> dict[str, Any]:
    """Measure lists drawn from the whole catalogue: how varied is as varied as the films are."""
    rng = np.random.default_rng(SEED)
    rows = np.stack([rng.permutation(len(judge.shared))[:K] for _ in asked.relevant])
    drawn = replace(asked.candidates, rows=rows, scores=np.zeros(rows.shape, np.float32))
    return measure_lists(judge, Lists(drawn, asked.relevant), plain)


if __name__ == "__main__":
    main()
