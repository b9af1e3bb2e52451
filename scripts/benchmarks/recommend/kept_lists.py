"""Lists of what was fitted, kept in a folder as they are done, so that a long run goes on after it was stopped."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexing.catalogue.item_ids import ItemIds
from retrieval import Candidates, FitConfig, Interactions, Profiles, Retriever
from retrieval.evaluation.baselines.recommender import Ranked
from scripts.benchmarks.recommend.film_bundle import FULL, Content, Fitted, film_bundle, fitted, report_json
from scripts.benchmarks.record import state_of

HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Lists:
    """What was served.

    Attributes:
        ranked: For each row of a table the lists of each seed.
        reports: What `fit` said, once a seed.
    """

    ranked: dict[str, list[Ranked]]
    reports: list[dict[str, Any]]


@dataclass(eq=False)
class Served:
    """Fits once a seed with one configuration, or reads what was kept.

    Attributes:
        data: Folder of the films.
        work: Folder that keeps bundles and lists.
        seeds: Of all that is drawn.
        config: How to learn.
        commits: Of the code that made the lists; more than one where a run went on after a change.
    """

    data: Path
    work: Path
    seeds: list[int]
    config: FitConfig
    commits: set[str] = field(default_factory=set)

    def bundle(self, content: Content = FULL) -> Path:
        """Give the bundle that has learned nothing, and build it the first time."""
        name = "-".join(str(value) for value in asdict(content).values() if value != "")
        folder = self.work / f"bundle-{name}"
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a stopped run left
            folder.mkdir()
            film_bundle(self.data, folder, content, self.work / "pocket.parquet")
            (folder / "done").touch()
        return folder / "films"

    def lists(
        self,
        name: str,
        past: Interactions,
        ask: Callable[[Fitted], Mapping[str, Candidates]],
        content: Content = FULL,
        profiles: Profiles | None = None,
        *,
        scores: bool = False,
    ) -> Lists:
        """Fit a bundle on a past, once a seed, and ask it.

        Args:
            name: Of what is kept.
            past: What is learned from.
            ask: Asks what was fitted; gives lists of one length for each row of a table.
            content: What is known of films.
            profiles: What is known of users, if that is learned from.
            scores: Keep scores too; they say no more than the order otherwise.
        """
        ranked: dict[str, list[Ranked]] = {}
        reports = []
        for seed in self.seeds:
            path = self.work / f"{name}-seed{seed}.json"
            if not path.exists():
                with fitted(self.bundle(content), past, self.config, seed, profiles) as made:
                    kept = _kept(ask(made), scores) | {"report": report_json(made.report), **state_of(HERE)}
                path.with_suffix(".tmp").write_text(json.dumps(kept))
                path.with_suffix(".tmp").rename(path)
                print(f"{name}, seed {seed}: {kept['report']}", flush=True)
            kept = json.loads(path.read_text())
            self.commits.add(kept["commit"] if kept["clean_tree"] else f"{kept['commit']}, changed")
            reports.append({"seed": seed} | kept["report"])
            for row, lines in kept["rows"].items():
                one = as_ranked(np.array(lines, np.int64))
                if scores:
                    one = Ranked(one.rows, np.array(kept["scores"][row], np.float32))
                ranked.setdefault(row, []).append(one)
        return Lists(ranked, reports)

    def items(self) -> ItemIds:
        """Give the films in the order of the bundle's rows."""
        return Retriever.open(self.bundle()).items

    def state(self) -> dict[str, Any]:
        """Say which code made the lists."""
        return {"lists by commits": sorted(self.commits)}


def _kept(found: Mapping[str, Candidates], scores: bool) -> dict[str, Any]:
    kept = {"rows": {row: one.rows.tolist() for row, one in found.items()}}
    return kept | ({"scores": {row: one.scores.tolist() for row, one in found.items()}} if scores else {})


def as_ranked(rows: Any) -> Ranked:  # noqa: ANN401 - (B, k) int64
    """Give lists scores that say no more than their order."""
    scores = np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)
    return Ranked(rows, np.where(rows < 0, -np.inf, scores).astype(np.float32))
