"""Other libraries beside this one, all tuned by one rule on held-out queries, and measured once on others.

    python -m scripts.benchmarks.index.tuned_peers.tuned_peers PAIRS --work FOLDER --prepare
    python -m scripts.benchmarks.index.tuned_peers.tuned_peers PAIRS --work FOLDER [--minutes 12]
    python -m scripts.benchmarks.index.tuned_peers.tuned_peers PAIRS --work FOLDER --counts 1000000
        --build-limit 900 --search-limit 300 --name tuned_peers_1m

PAIRS is a folder with `image_emb.npy` and `text_emb.npy` of some hundred real pairs, from whose geometry items, texts
and pictures are drawn (`geometry`). Half of the queries tune: for texts and for pictures the smallest effort of a grid
is taken at which recall@10 reaches 0.95 (`tuning`). The other half is reported: recall, queries a second of one batch
by as many threads as there are cores (the median of three), and the median of single queries on one core. A peer runs
in a process of its own, in an environment of its own that pip makes. `--prepare` makes all of them and draws the
vectors, so that the run after it only measures. What cannot be installed, crashes or takes longer than its limit has a
row that says so. Each row is kept in FOLDER as soon as it is measured, so that a run that was stopped continues; with
`--minutes` it stops by itself before the next row, and the same command continues it. `--again NAME` measures peers
anew, as does a change of their settings. The rows go to `results/NAME.json`, each with the commit and the load of the
machine at which it was measured.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from indexing.filesystem.fsops import write_bytes
from indexing.runtime.threads import cores
from scripts.benchmarks.index.tuned_peers.drawn_files import DrawnFiles, draw_files
from scripts.benchmarks.index.tuned_peers.environments import NotInstalledError, interpreter
from scripts.benchmarks.index.tuned_peers.measure_peer import Limits, measure_peer
from scripts.benchmarks.index.tuned_peers.peer_list import PEERS, Peer
from scripts.benchmarks.record import keep, state_of

TARGET, QUERIES, NAME = 0.95, 2000, "tuned_peers"
OURS = {"Commonspace auto": "ours", "Commonspace ivf": "our lists"}  # the second where `auto` is a scan


def main() -> None:
    """Measure what is not measured yet; when nothing is left, keep all of it."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; the rows so far are kept"))  # which ends the runner too
    peers = [peer for peer in PEERS if given.peers is None or peer.name in given.peers]
    catalogues = [draw_files(given.work / "drawn", given.pairs, count, QUERIES, given.seed) for count in given.counts]
    if given.prepare:
        make_environments(peers, given.work)
        return
    rows, left = measured_rows(peers, catalogues, given)
    if left:
        sys.exit(f"{given.minutes} minutes are over; {len(left)} rows are left, run again: {', '.join(left)}")
    if given.peers is not None and given.name is None:
        print(f"rows are in {given.work / 'rows'}; with --name, or without --peers, they are written to results")
        return
    sizes = {
        str(len(catalogue.items)): {**catalogue.info, "peers": by_peer, "compared": compared(by_peer)}
        for catalogue, by_peer in zip(catalogues, rows, strict=True)
    }
    stated = {(row["commit"], row["clean_tree"]) for by_peer in rows for row in by_peer.values()}
    if len(stated) > 1:
        print(f"rows were measured at several states: {sorted(stated)}; --again measures anew", file=sys.stderr)
    about = {"target": TARGET, "threads": given.threads, "queries that tune": QUERIES // 2}
    limit = {"build limit, s": given.build_limit, "search limit, s": given.search_limit}
    keep(given.name or NAME, {**about, **limit, "states measured": len(stated), "sizes": sizes}, given.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for environments, vectors and rows")
    parser.add_argument("--counts", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--peers", nargs="+", metavar="NAME", choices=[peer.name for peer in PEERS], help="only these")
    parser.add_argument("--again", nargs="+", metavar="NAME", default=[], help="measure these anew, or 'all'")
    parser.add_argument("--prepare", action="store_true", help="make environments and draw vectors, measure nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further row after so long")
    parser.add_argument("--build-limit", type=float, default=120, metavar="SECONDS")
    parser.add_argument("--search-limit", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help=f"of the file of results; {NAME} without --peers")
    return parser.parse_args()


def make_environments(peers: Sequence[Peer], work: Path) -> None:
    """Make the environment of each peer; say of which that fails."""
    for peer in peers:
        try:
            print(peer.name, interpreter(work / "environments", peer.environment, peer.packages), flush=True)
        except NotInstalledError as error:
            print(f"{peer.name}: not installed: {error}", file=sys.stderr, flush=True)


def measured_rows(
    peers: Sequence[Peer], catalogues: Sequence[DrawnFiles], given: argparse.Namespace
) -> tuple[list[dict[str, dict[str, Any]]], list[str]]:
    """Give the rows of each catalogue by peer, and which are left as the time was over.

    Peers that are slow to build come last, over all catalogues; rows keep the order of the peers.
    """
    until = monotonic() + 60 * given.minutes
    found: dict[tuple[int, str], dict[str, Any]] = {}
    left: list[str] = []
    for slow in (False, True):
        for place, catalogue in enumerate(catalogues):
            for peer in (peer for peer in peers if peer.slow == slow):
                row = kept_row(peer, catalogue, given)
                if row is None and monotonic() >= until:
                    left.append(f"{peer.name} of {len(catalogue.items):,}")
                    continue
                found[place, peer.name] = row or measure_row(peer, catalogue, given)
    if left:
        return [], left
    return [{peer.name: found[place, peer.name] for peer in peers} for place in range(len(catalogues))], []


def _file_of(peer: Peer, catalogue: DrawnFiles, work: Path) -> Path:
    return work / "rows" / catalogue.folder.name / f"{peer.name}.json"


def kept_row(peer: Peer, catalogue: DrawnFiles, given: argparse.Namespace) -> dict[str, Any] | None:
    """Give the row of a peer that was measured before with the same settings, unless it is to be measured again."""
    path = _file_of(peer, catalogue, given.work)
    if not path.exists() or {peer.name, "all"} & set(given.again):
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    return row if row["settings"] == dict(peer.settings) else None


def measure_row(peer: Peer, catalogue: DrawnFiles, given: argparse.Namespace) -> dict[str, Any]:
    """Measure a peer, and keep its row with the state of the code and the load before."""
    state = {**state_of(Path(__file__).parent), "load before": round(os.getloadavg()[0], 2)}
    limits = Limits(given.build_limit, given.search_limit, TARGET, given.threads)
    try:
        python = interpreter(given.work / "environments", peer.environment, peer.packages)
        row = measure_peer(peer, python, catalogue, limits, given.work)
    except NotInstalledError as error:
        row = {"settings": dict(peer.settings), "not measured": f"not installed: {error}"}
    row |= state
    path = _file_of(peer, catalogue, given.work)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(row, indent=2) + "\n").encode())
    print(len(catalogue.items), peer.name, row, flush=True)
    return row


def compared(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """For each kind of query, the best of other libraries and of bare types of FAISS, and what ours is beside them.

    Only those count that reach the goal on held-out queries. This project is built on types of FAISS, so that these
    are no other library: they say what its index would be with settings of one's own, tuned to the mean.
    """
    found: dict[str, Any] = {}
    for kind in ("text", "image"):
        speeds = {
            name: row[kind]["queries/s"]
            for name, row in rows.items()
            if kind in row and row[kind]["reaches the goal on held-out queries"]
        }
        ours = {said: speeds[name] for name, said in OURS.items() if name in speeds}
        bare = {name: speed for name, speed in speeds.items() if name.startswith("FAISS")}
        others = {name: speed for name, speed in speeds.items() if name not in {*OURS, *bare}}
        found[kind] = dict(ours)
        for said, group in (("best peer", others), ("best type of FAISS", bare)):
            if group:
                best = max(group, key=lambda name: float(group[name]))
                found[kind][said] = {"name": best, "queries/s": group[best]}
                found[kind][said] |= {f"{which} / this": round(own / group[best], 2) for which, own in ours.items()}
    missing: Sequence[str] = [name for name, row in rows.items() if "not measured" in row]
    return {**found, "not measured": list(missing)}


if __name__ == "__main__":
    main()
