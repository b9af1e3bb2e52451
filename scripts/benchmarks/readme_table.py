"""Tables of results in the README and in two pages of docs/reference, from scripts/benchmarks/results.

    python -m scripts.benchmarks.readme_table [--check]

Writes each table between two marks of its page. With --check nothing is written, and the exit code is 1 if a page and
the results differ. A result that is not there has no row, nor has one that was not measured through `fit` and
`recommend` where it is about these; the results that are left out are named.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "scripts" / "benchmarks"
RESULTS = BENCHMARKS / "results"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEAD = ("task", "data", "measure", "ours", "best peer", "interval", "command")
INDEX_HEAD = (
    "items",
    "index",
    *(f"{kind}: {cell}" for kind in ("texts", "pictures") for cell in ("recall@10", "a second", "ms for one")),
    "bytes a vector",
    "build, s",
    "memory, MiB",
    "about",
)
MADE_BY_FIT = "lists by commits"
MINUS = "\N{MINUS SIGN}"
NDCG = "ndcg@20"
MEASURES = ("recall@20", NDCG)
EACH_SEED = "two stages, each seed"
FILMS = "MovieLens 100k"
RUN = "one run"
Result = dict[str, Any]
Cells = tuple[str, str, str, str, str, str]


def main() -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if README and results differ")
    check = parser.parse_args().check
    for source in SOURCES:
        if source.of(RESULTS) is None:
            print(f"left out: {source.name}")
    before = {page: (ROOT / page).read_text() for page in PAGES}
    after = {page: updated(before[page], make(RESULTS)) for page, make in PAGES.items()}
    differ = [page for page in PAGES if before[page] != after[page]]
    if check and differ:
        sys.exit(f"{', '.join(differ)}: not as in the results; run python -m scripts.benchmarks.readme_table")
    for page in differ:
        (ROOT / page).write_text(after[page])


@dataclass(frozen=True)
class Source:
    """A result, and the rows that it has.

    Attributes:
        name: Of the file in results, without its ending.
        rows: Makes the cells of rows of it, all but the command.
        script: The name of the script that measured it.
        arguments: What the script is given beside its data.
        by_fit: Whether only lists that `fit` and `recommend` made may be shown.
    """

    name: str
    rows: Callable[[Result], Iterator[Cells]]
    script: str
    arguments: str = ""
    by_fit: bool = False

    def of(self, results: Path) -> Result | None:
        """Read the result; None if it is not there, or was not made as it must be."""
        path = results / f"{self.name}.json"
        if not path.exists():
            return None
        result: Result = json.loads(path.read_text())["result"]
        return result if MADE_BY_FIT in result or not self.by_fit else None

    def command(self) -> str:
        """Link to the script, wherever below scripts/benchmarks it is."""
        (path,) = BENCHMARKS.rglob(f"{self.script}.py")
        words = f"{self.script} {self.arguments}".strip()
        return f"[`{words}`]({path.relative_to(ROOT).as_posix()})"


def table(results: Path) -> str:
    """Make the table in Markdown."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for source in SOURCES:
        result = source.of(results)
        if result is not None:
            lines += [(*cells, source.command()) for cells in source.rows(result)]
    return markdown(lines)


def films(results: Path) -> str:
    """Make the table of films: all users, those with a history and new ones, by both measures."""
    lines = [("users", "seeds", *(cell for measure in MEASURES for cell in (measure, "over the best", "the best")))]
    lines.append(("---",) * len(lines[0]))
    for split, title in SPLITS.items():
        result = _films(split, title).of(results) or {"two stages": {}}
        for who, ours in result["two stages"].items():
            row = [f"{title}, {who}, {ours['queries']:,}", str(len(result[EACH_SEED]))]
            for measure in MEASURES:
                peer = ours[f"best peer by {measure}"]
                value = number(result[peer][who][measure][0])
                row += [
                    spread(ours[measure]),
                    difference(ours[f"{measure} above the best peer"]),
                    f"{label(peer)} {value}",
                ]
            lines.append(tuple(row))
    return markdown(lines)


def index_peers(results: Path) -> str:
    """Make the table of tuned indexes: by size, the most texts a second first; then what was not measured, and why."""
    lines: list[tuple[str, ...]] = [INDEX_HEAD, ("---",) * len(INDEX_HEAD)]
    for path in (results / "tuned_peers.json", results / "tuned_peers_1m.json"):
        for count, size in (json.loads(path.read_text())["result"]["sizes"] if path.exists() else {}).items():
            rows = size["peers"].items()
            for name, row in sorted(rows, key=lambda one: -one[1].get("text", {}).get("queries/s", 0)):
                lines.append((f"{int(count):,}", name, *_index_cells(row)))
    return markdown(lines) if len(lines) > 2 else "No run is kept yet."


def _index_cells(row: Result) -> tuple[str, ...]:
    cells, about = [], [row["note"]] if row.get("note") else []
    for kind in ("text", "image"):
        found = row.get(kind)
        if found is None:
            cells += ["", "", ""]
            continue
        cells += [
            number(found["recall"]),
            number(found["queries/s"], 0),
            number(found["ms a query by itself, p50"], 2),
        ]
        if not found["reaches the goal on held-out queries"]:
            about.append(f"{'texts' if kind == 'text' else 'pictures'} miss the goal on queries that tuned")
    costs = [f"{row[name]:,}" if name in row else "" for name in ("bytes a vector", "build seconds", "MiB at most")]
    if "not measured" in row:
        about.append(f"not measured: {row['not measured']}")
    return (*cells, *costs, "; ".join(about).replace("|", "/"))


def markdown(lines: Sequence[tuple[str, ...]]) -> str:
    """Write lines of cells as a table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def updated(page: str, text: str) -> str:
    """Put a table between the marks of a page."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def number(value: float, places: int = 3) -> str:
    """Write a number with a true minus sign; beyond a thousand with three digits that count."""
    if abs(value) >= 1000:
        return f"{int(float(f'{value:.3g}')):,}"
    return f"{value:.{places}f}".replace("-", MINUS)


def spread(triple: list[float]) -> str:
    """Write a number with its interval."""
    middle, low, high = (number(value) for value in triple)
    return f"{middle} [{low}, {high}]"


def difference(triple: list[float]) -> str:
    """Write a difference, with its sign, and its interval."""
    return ("" if triple[0] < 0 else "+") + spread(triple)


def label(peer: str) -> str:
    """Write the name of a peer in few words.

    >>> label("sum of EASE (liked) and popularity of late")
    'EASE (liked) + recent popularity'
    """
    return peer.removeprefix("sum of ").replace(" and ", " + ").replace("popularity of late", "recent popularity")


def recommended(task: str, data: str, who: str = "all") -> Callable[[Result], Iterator[Cells]]:
    """Lists for some users beside the best peer on these users."""

    def rows(result: Result) -> Iterator[Cells]:
        ours = result["two stages"][who]
        peer = ours[f"best peer by {NDCG}"]
        seeds = len(result[EACH_SEED])
        about = f"{data}, {ours['queries']:,} users, {seeds} seed{'s' * (seeds > 1)}"
        theirs = f"{label(peer)} {number(result[peer][who][NDCG][0])}"
        yield task, about, NDCG, number(ours[NDCG][0]), theirs, difference(ours[f"{NDCG} above the best peer"])

    return rows


def new_users(result: Result) -> Iterator[Cells]:
    """What a profile adds, for users without a history."""
    row = result["left out"]["after 0"]
    ours = row["two stages, with profiles"]
    data = f"MovieLens 100k, {row['users']:,} users left out of the log, their profiles"
    without = f"without profiles {number(row['two stages'][NDCG][0])}"
    yield "recommend, no history", data, NDCG, number(ours[NDCG][0]), without, difference(ours["above the row before"])


def music(result: Result) -> Iterator[Cells]:
    """Simulated plays."""
    ours = result["table"]["two stages"]
    peer = ours["best baseline"]
    data = f"simulated plays without times, {len(result['fit'])} seeds"
    theirs = f"{peer} {number(result['table'][peer][NDCG][0])}"
    yield "recommend, music", data, NDCG, number(ours[NDCG][0]), theirs, f"{spread(ours[f'{NDCG}, times it'])} times"


def diversity(result: Result) -> Iterator[Cells]:
    """What MMR costs and gives."""
    row = result["test"].get("MMR of texts, centred")
    if row is not None:
        apart, cost = ([100 * value for value in row[f"{name}, change"]] for name in ("least, texts", NDCG))
        middle, low, high = (number(value, 1) for value in apart)
        measure = f"distance of the two most alike of 20, for {number(cost[0], 1)} % {NDCG}"
        data = "MovieLens 100k, last tenth of each user"
        yield "diversify, MMR", data, measure, f"{middle} % more", "by relevance alone", f"[{low}, {high}] %"


def encode(result: Result) -> Iterator[Cells]:
    """The same weights in other libraries."""
    for kind in ("images", "short texts", "long texts"):
        systems = dict(result["per second"][kind])
        ours = systems.pop("commonspace")
        peer, best = max(systems.items(), key=lambda one: float(one[1]))
        yield f"encode {kind}", "ViT-B/32, two cores", "per second", number(ours, 0), f"{peer} {number(best, 0)}", RUN


def tuned_index(result: Result) -> Iterator[Cells]:
    """Search by texts and by pictures beside the best of all that were tuned alike."""

    def cell(row: Result) -> str:
        return f"{number(row['queries/s'], 0)} ({number(row['recall'])})"

    for count, size in result["sizes"].items():
        data = f"{int(count):,} x {size['dim']} with the geometry of CLIP pairs"
        for kind, queries in (("text", "texts"), ("image", "pictures")):
            peers, peer = size["peers"], size["compared"][kind]["best peer"]["name"]
            ours = peers["Commonspace auto"]
            lists = peers.get("Commonspace ivf", ours)
            both = "" if ours["note"] == lists["note"] else f", `ivf` {cell(lists[kind])}"
            measure = f"{queries} a second (recall@10, goal {number(result['target'], 2)})"
            yield "search", data, measure, f"{cell(ours[kind])}{both}", f"{peer} {cell(peers[peer][kind])}", RUN


def rerank(result: Result) -> Iterator[Cells]:
    """Features, head and order."""
    ours, peer = (result[head]["whole"]["pairs/s"] for head in ("neural", "trees (LightGBM)"))
    data = f"{result['users']:,} users x {result['each']} of {result['items']:,} items"
    yield "rerank", data, "pairs a second", number(ours, 0), f"LightGBM, same features {number(peer, 0)}", RUN


def live(result: Result) -> Iterator[Cells]:
    """Durable changes of the largest bundle."""
    row = max(result["sizes"], key=lambda one: int(one["items"]))
    added = number(row["items added a second, 100 at once"], 0)
    data = f"bundle of {row['items']:,} items, 100 at once"
    yield "add items", data, "durable items a second", added, "", RUN


def fit_cost(result: Result) -> Iterator[Cells]:
    """How long learning takes: of real films if they were measured, else of simulated users."""
    name, row = next(iter(result.items()))
    what, threads = name.replace("films", FILMS).split(", ", 1)
    data = f"{what}, {row['interactions']:,} interactions, {threads}"
    yield "fit", data, "seconds, memory", f"{row['whole']['s']:.0f} s, {row['peak memory, MiB']:,} MiB", "", RUN


def fit_scale(result: Result) -> Iterator[Cells]:
    """How long learning takes with the most interactions."""
    row = max(result["sizes"], key=lambda one: int(one["interactions"]))
    data = f"simulated, {row['interactions']:,} interactions, {result['items']:,} items"
    ours = f"{row['whole fit, s']:,.0f} s, {row['peak memory, MiB']:,} MiB"
    yield "fit", data, "seconds, memory", ours, "", RUN


SPLITS = {
    "by_user": "last tenth of each user",
    "in_time": "one cut in time",
    "windows": "12 windows of 14 days",
    "unseen": "items nobody has seen",
}


def _films(split: str, task: str, who: str = "all") -> Source:
    rows = recommended(task, f"{FILMS}, {SPLITS[split]}", who)
    return Source(f"two_stage_{split}", rows, "two_stage", f"--split {split}", by_fit=True)


SOURCES = (
    _films("by_user", "recommend"),
    _films("in_time", "recommend"),
    _films("windows", "recommend"),
    _films("windows", "recommend, users with a history", "with a history"),
    _films("windows", "recommend, new users", "new"),
    _films("unseen", "recommend new items"),
    Source("new_users", new_users, "new_users", by_fit=True),
    Source("music", music, "music"),
    Source("diversity", diversity, "diversity", by_fit=True),
    Source("tuned_peers", tuned_index, "tuned_peers"),
    Source("tuned_peers_1m", tuned_index, "tuned_peers", "--counts 1000000"),
    Source("encode", encode, "encode"),
    Source("rerank", rerank, "rerank"),
    Source("live", live, "live"),
    Source("fit_cost", fit_cost, "fit_cost"),
    Source("fit_scale", fit_scale, "fit_scale"),
)
PAGES = {
    "README.md": table,
    "docs/reference/benchmarks.md": films,
    "docs/reference/index_peers.md": index_peers,
}

if __name__ == "__main__":
    main()
