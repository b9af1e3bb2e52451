"""What `fit` and `Retriever.recommend` make of MovieLens 100k with their defaults, and the best peers beside it.

python -m scripts.benchmarks.recommend.two_stage DATA --work FOLDER
    [--split by_user in_time windows unseen missing profiles] [--seeds 0 1 2] [--sasrec LISTS]

DATA as for `baselines`; a bundle is built of it (`film_bundle`). All is learned by
`fit` with the default configuration, once a seed, and asked by `recommend`: by both stages, and by retrieval alone.

    by_user    each user's last tenth held out; users ask by their log
    in_time    one cut for everybody, who ask just before it, with a history or without one
    windows    twelve windows of 14 days, each fitted on what is before it, judged as one
    unseen     166 films of which the log tells nothing: lists of these alone, and lists of all films, with them and
               without them, judged by what else was liked: what do new films cost the others?
    missing    unseen films, where less is known of all films
    profiles   the windows, with age, gender and occupation of users (DATA/users.parquet), which no peer reads

Peers are those of `peers_of_films` and cold_peers, each with the settings that were best before;
SASRec where LISTS holds what sasrec_alone.py has written. Intervals are bootstrapped over users;
differences are paired, to the peer that is best on the very users. FOLDER keeps each fit's lists and each peer's as
they are done, and a run goes on from there; each split is a result of its own.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing.arrays import Mask
from retrieval import FitConfig, Profiles
from retrieval.evaluation import compare
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.evaluation.splits.splits import Split, rolling_windows
from scripts.benchmarks.recommend.baselines import (
    SECONDS_PER_DAY,
    WINDOW_DAYS,
    WINDOWS,
    Films,
    Judged,
    ask,
    show,
    to_row,
)
from scripts.benchmarks.recommend.cold_peers import cold_answers
from scripts.benchmarks.recommend.film_bundle import FULL, STAGES, Content, Fitted, quick, recommended
from scripts.benchmarks.recommend.kept_lists import Lists, Served
from scripts.benchmarks.recommend.peer_models import FAMILIES, Known
from scripts.benchmarks.recommend.peers_of_films import COMPARED, Peers, against, sasrec
from scripts.benchmarks.recommend.systems import SEEDS
from scripts.benchmarks.record import keep

EARLIER = 3  # windows before a window that choose the settings of peers
MISSING = {
    "texts alone": Content(image=False, attributes=False),
    "posters alone": Content(text=False, attributes=False),
    "texts and posters": Content(attributes=False),
    "texts, genres, years": Content(image=False),
    "posters, genres, years": Content(text=False),
    "30 % of texts removed": Content(lost="text_vector"),
    "30 % of posters removed": Content(lost="image_vector"),
}
WITH, WITHOUT = "with new films", "without new films"
Cut = tuple[EvaluationQueries, Mapping[str, Sequence[Ranked]]]


def main() -> None:
    """Measure some splits, or all, and keep each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--sasrec", type=Path)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    trial = Trial(given)
    for name in given.split:
        table = PARTS[name](trial)
        show(name, table)
        if not given.quick:
            keep(f"two_stage_{name}", table | trial.served.state(), seed=given.seeds[0])


class Trial:
    """The films, what serves them, and the peers."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.data, self.sasrec, self.quick = given.data, given.sasrec, given.quick
        work = given.work / "quick" if given.quick else given.work
        work.mkdir(parents=True, exist_ok=True)
        self.films = Films(given.data)
        config = quick(FitConfig()) if given.quick else FitConfig()
        self.served = Served(given.data, work, list(given.seeds), config)
        self.known = Known.of(given.data, self.films.items, self.films.texts)
        families = {name: settings[:1] if given.quick else settings for name, settings in FAMILIES.items()}
        self.peers = Peers(self.films, self.known, work, families)

    def ours(self, name: str, split: Split, times: int | None, content: Content = FULL, **wishes: Any) -> Lists:  # noqa: ANN401
        """Fit once a seed, and answer a split's questions by both stages and by retrieval alone."""
        asked = ask(split, self.films)

        def lists(made: Fitted) -> dict[str, Any]:
            return {
                row: recommended(made.retriever, split.past, asked, times, stages=stages, **wishes)
                for row, stages in STAGES.items()
            }

        return self.served.lists(name, split.past, lists, content)

    def cut(self, part: str, name: str, split: Split, before: dict[str, Split], window: int = 0) -> tuple[Cut, Any]:
        """Answer a split's questions by ours and by all peers, and tell what peers chose."""
        ours = self.ours(name, split, None if split.cut is None else split.cut - 1)
        return self.beside(part, name, split, before, ours, window)

    def beside(
        self, part: str, name: str, split: Split, before: dict[str, Split], ours: Lists, window: int = 0
    ) -> tuple[Cut, Any]:
        """Put peers beside our lists."""
        asked = ask(split, self.films)
        answers, chosen = self.peers.answers(name, split, before)
        found: dict[str, Sequence[Ranked]] = dict(ours.ranked) | answers
        files = sorted(self.sasrec.glob(f"{part}-*.parquet")) if self.sasrec and part else []
        found |= sasrec(files, window, asked, answers["popularity"][0])
        return (asked, found), {"peers": chosen, "fit": ours.reports}

    def windows(self) -> list[Split]:
        """Give all windows, the first of which only choose for peers."""
        log = self.films.part("split_user", "train", "valid", "test")
        every = rolling_windows(log, EARLIER + WINDOWS, WINDOW_DAYS * SECONDS_PER_DAY)
        return every[: EARLIER + 1] if self.quick else every


def by_user(trial: Trial) -> dict[str, Any]:
    """Hold out the last tenth of each user."""
    return _once(trial, "split_user", "split_user")


def in_time(trial: Trial) -> dict[str, Any]:
    """Cut once for everybody."""
    return _once(trial, "split_time", "")


def _once(trial: Trial, name: str, sasrec: str) -> dict[str, Any]:
    films = trial.films
    valid = Split("valid", films.part(name, "train"), films.part(name, "valid"))
    cut, chosen = trial.cut(sasrec, name, films.cut(name), {f"{name}-valid": valid})
    return compared([cut]) | {"chosen": chosen}


def windows(trial: Trial) -> dict[str, Any]:
    """Cut several times, and judge all windows as one."""
    return _in_windows(trial, lambda name, split: trial.ours(name, split, (split.cut or 0) - 1))


def profiles(trial: Trial) -> dict[str, Any]:
    """Learn from profiles as well, and ask with them and without."""
    known = Profiles.open(trial.data / "users.parquet")

    def ours(name: str, split: Split) -> Lists:
        asked, times = ask(split, trial.films), (split.cut or 0) - 1

        def lists(made: Fitted) -> dict[str, Any]:
            found: dict[str, Any] = {}
            there = "profiles" in made.report.published
            for row, stages in STAGES.items():
                for label, given in ((row, None), (f"{row}, with profiles", known if there else None)):
                    found[label] = recommended(made.retriever, split.past, asked, times, stages=stages, profiles=given)
            return found

        return trial.served.lists(f"{name}-profiles", split.past, lists, profiles=known)

    return _in_windows(trial, ours)


def _in_windows(trial: Trial, ours: Callable[[str, Split], Lists]) -> dict[str, Any]:
    every, found = trial.windows(), list[tuple[Cut, Any]]()
    names = [split.name for split in every]
    for place in range(EARLIER, len(every)):
        before = dict(zip(names[place - EARLIER : place], every[place - EARLIER : place], strict=True))
        name, split = names[place], every[place]
        found.append(trial.beside("rolling", name, split, before, ours(name, split), place - EARLIER + 1))
    return compared([cut for cut, _ in found]) | {"chosen": [chosen for _, chosen in found]}


def compared(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Judge all cuts as one: all users, and where there are both those with a history and new ones; each seed too."""
    new = np.concatenate([asked.new for asked, _ in cuts])
    users = np.array([user for asked, _ in cuts for user in asked.user_ids])
    masks: dict[str, Mask] = {"all": np.ones_like(new)}
    masks |= {"with a history": ~new, "new": new} if new.any() and not new.all() else {}
    systems = {
        name: Judged([(asked, lambda _, of=answers[name]: of) for asked, answers in cuts])  # type: ignore[misc]
        for name in cuts[0][1]
    }
    table: dict[str, Any] = {name: {} for name in systems}
    for who, mask in masks.items():
        means = {name: one.among(mask) for name, one in systems.items()}
        peers = {name: one for name, one in means.items() if not is_ours(name)}
        for name, one in means.items():
            table[name][who] = to_row(one, users[mask].tolist()) | (
                against(peers, one) if peers and is_ours(name) else {}
            )
    for name in filter(is_ours, systems):
        table[f"{name}, each seed"] = [
            {who: _means(systems[name], mask, seed) for who, mask in masks.items()}
            for seed in range(len(systems[name].seeds))
        ]
    return table


def is_ours(name: str) -> bool:
    """Whether a row is of this project."""
    return name.startswith(tuple(STAGES))


def _means(found: Judged, mask: Mask, seed: int) -> dict[str, float]:
    means = found.of_seed(seed).among(mask).means
    return {name: round(means[name], 4) for name in ("recall@20", "ndcg@20")}


def unseen(trial: Trial) -> dict[str, Any]:
    """Rank films that nobody has seen for users who liked one of them, and all films for what was liked next."""
    split, cold = trial.films.cold()
    asked, following = ask(split, trial.films), Split("new items", split.past, trial.films.cut("split_user").future)
    next_asked, among = ask(following, trial.films), {WITH: [], WITHOUT: [("item_id", "not in", sorted(cold))]}

    def lists(made: Fitted) -> dict[str, Any]:
        found = {}
        for row, stages in STAGES.items():
            only = [("item_id", "in", sorted(cold))]
            found[row] = recommended(made.retriever, split.past, asked, stages=stages, where=only)
            for way, where in among.items():
                given = recommended(made.retriever, split.past, next_asked, stages=stages, where=where)
                found[f"{row}, {way}"] = given
        return found

    ours = trial.served.lists("unseen", split.past, lists)
    answers, chosen = cold_answers(trial.films, trial.known, split, cold, trial.peers.work / "peers-unseen.json")
    cut: Cut = asked, {row: ours.ranked[row] for row in STAGES} | answers
    rest = {row: of for row, of in ours.ranked.items() if row not in STAGES}
    details = {"chosen": {"peers": chosen, "fit": ours.reports}, "among all": among_all(next_asked, rest, cold)}
    return compared([cut]) | details


def among_all(asked: EvaluationQueries, ranked: dict[str, list[Ranked]], cold: set[str]) -> dict[str, Any]:
    """Judge lists with new films and without them, by all that was liked next, and by the other films alone."""
    lines = [line for line, wanted in enumerate(asked.relevant) if wanted - cold]
    others = asked_for(asked, lines, cold)
    new = np.isin(np.arange(len(asked.items)), asked.items.rows(sorted(cold)))
    table: dict[str, Any] = {}
    for name, of in ranked.items():
        found = Judged([(asked, lambda _, of=of: of)])  # type: ignore[misc]
        shown = np.concatenate([one.rows[one.rows >= 0] for one in of])
        table[name] = to_row(found.among(found.everyone)) | {"places of new films": round(float(new[shown].mean()), 4)}
    for row in STAGES:
        with_new, without = (
            [Ranked(one.rows[lines], one.scores[lines]) for one in ranked[f"{row}, {way}"]] for way in (WITH, WITHOUT)
        )
        before, after = (
            Judged([(others, lambda _, of=of: of)])  # type: ignore[misc]
            for of in (without, with_new)
        )
        rows = compare(before.among(before.everyone), after.among(after.everyone), measures=COMPARED, resamples=2000)
        table[f"{row}, what new films cost the others"] = {
            one.measure: [round(value, 4) for value in (one.difference, one.low, one.high)] for one in rows.rows
        }
    return table


def asked_for(asked: EvaluationQueries, lines: Sequence[int], but: set[str]) -> EvaluationQueries:
    """Keep some questions, and ask for all but some films."""
    return replace(
        asked,
        query_ids=tuple(asked.query_ids[line] for line in lines),
        user_ids=tuple(asked.user_ids[line] for line in lines),
        histories=tuple(asked.histories[line] for line in lines),
        weights=tuple(asked.weights[line] for line in lines),
        relevant=tuple(frozenset(asked.relevant[line] - but) for line in lines),
    )


def missing(trial: Trial) -> dict[str, Any]:
    """Rank films that nobody has seen when less is known of films."""
    split, cold = trial.films.cold()
    only, table = [("item_id", "in", sorted(cold))], dict[str, Any]()
    for name, content in list(MISSING.items())[: 1 if trial.quick else None]:
        ours = trial.ours(f"unseen, {name}", split, None, content, where=only)
        rows = compared([(ask(split, trial.films), dict(ours.ranked))])
        table |= {f"{row}: {name}": one for row, one in rows.items()} | {f"fit: {name}": ours.reports}
    return table


PARTS: dict[str, Callable[[Trial], dict[str, Any]]] = {
    "by_user": by_user,
    "in_time": in_time,
    "windows": windows,
    "unseen": unseen,
    "missing": missing,
    "profiles": profiles,
}

if __name__ == "__main__":
    main()
