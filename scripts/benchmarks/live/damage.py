"""Damaged and hostile bundles: each is opened, searched and reranked elsewhere, and nothing goes wrong unsaid.

python -m scripts.benchmarks.live.damage                  900 damaged files and 1,100 sealed again, ten minutes
python -m scripts.benchmarks.live.damage --plain 90 --sealed 110

A damaged file has a bit turned, is cut, has a page of zeros, is another of the bundle, or is gone; the checksums are as
they were. One that was sealed again was changed by somebody who sets every checksum right. Then the bundle is opened,
searched by vectors and by items, recommended from with and without weights, reranked, explained and verified. Bad are

signal    the process ended by a signal, or was ended because it took more than 60 seconds or 4 GB
untyped   an exception that is none of the project's own
silent    a damaged file opened without an error, a score that is not finite, an item twice in one answer, or one that
          does not exist

A number changed into another that it might have been, in a file that was sealed again, is no damage that anyone could
see: what it gives is judged by the same three rules. A damaged file that is not in force, as the copy of CURRENT, may
open.
"""

import argparse
import hashlib
import json
import multiprocessing
import resource
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import digest_of
from indexing.bundle.current import COPY, CURRENT
from indexing.bundle.edits.edit import add, delete
from indexing.bundle.maintenance.verify import verify
from indexing.bundle.manifest import MANIFEST
from indexing.encoders import load_encoder
from indexing.errors import CommonspaceError
from indexing.filesystem.checked_files import CHECKSUM, seal
from indexing.index import IndexConfig
from retrieval import Retriever, fit
from retrieval.training.ranker_config import HeadConfig, StageConfig, TreesConfig
from scripts.benchmarks.record import keep
from tests.groups import COUNT, SMALL, catalogue, items, walks

SECONDS, BYTES = 60, 4 << 30
BAD = ("signal", "untyped", "silent")
WAYS = ("bit", "cut", "zeros", "swap", "gone")
ODD: tuple[Any, ...] = (None, -1, 0, 2**31, 2**63, 1e308, "", "x", "../x", [], {}, True, [None], {"a": {}}, "\ud800")
Mutate = Callable[[Path, np.random.Generator], str]


class Outcome(NamedTuple):
    """What became of one mutant: ``opened``, ``refused`` or one of ``BAD``; what was changed; what was said."""

    kind: str
    what: str
    said: str


def made_bundle(folder: Path) -> Path:
    """Build a small bundle with all parts, learn, and change it twice."""
    root, encoder = folder / "bundle", load_encoder("vectors:")
    build_bundle(catalogue(folder, items(range(COUNT))), encoder, root, index=IndexConfig(kind="hnsw", m=8))
    trees = TreesConfig(num_boost_round=20, min_data_in_leaf=10, num_leaves=6)
    stage = StageConfig(
        "trees", candidates_per_source=20, neural=HeadConfig(hidden=8, ensemble_size=1, epochs=8), trees=trees
    )
    fit(root, walks(), replace(SMALL, reranker=stage))
    add(root, catalogue(folder, items(range(COUNT, COUNT + 4), [0, 0, 1, 1])), encoder)
    delete(root, ["i001"])
    return root


def use(root: Path, *, sealed: bool) -> Outcome:
    """Do with a bundle what users do."""
    verify(root)
    retriever = Retriever(Bundle.open(root))
    query = np.ones((2, retriever.bundle.manifest.encoder.dim), np.float32)
    query[1, ::2] = -1
    found = [retriever.search_vectors(query, k=5, modality="text"), retriever.similar_items(["i003", "i010"], k=5)]
    found.append(retriever.recommend([["i000", "i003"], ["i010"]], k=30))
    found.append(retriever.recommend([["i000", "i003"]], k=30, weights=[[1.0, 5.0]]))
    ranked = [retriever.rerank(one) for one in found[2:]]
    retriever.explain(ranked[0].top(3))
    retriever.nearest_parts(found[0])
    for one in (*found, *ranked):
        rows, scores = one.rows, one.scores
        if not np.isfinite(scores[rows >= 0]).all():
            return Outcome("silent", "", f"scores are not finite after {one.stage}")
        if any(len(set(line[line >= 0])) < (line >= 0).sum() for line in rows):
            return Outcome("silent", "", f"an item comes twice after {one.stage}")
        if not retriever.bundle.is_live[rows[rows >= 0]].all():
            return Outcome("silent", "", f"an item that is gone comes after {one.stage}")
    return Outcome("opened" if sealed else "silent", "", "")


def damaged(root: Path, rng: np.random.Generator) -> str:
    """Damage one file in force without setting its checksum right."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and _in_force(path, root)]
    path, way = files[int(rng.integers(len(files)))], WAYS[int(rng.integers(len(WAYS)))]
    before = path.read_bytes()
    if way == "gone":
        path.unlink()
    elif way == "swap":
        others = [one for one in files if one.read_bytes() != before]
        path.write_bytes(others[int(rng.integers(len(others)))].read_bytes())
    else:
        path.write_bytes(changed(before, way, rng))
        if path.read_bytes() == before:  # zeros over zeros
            path.write_bytes(before[:-1])
    return f"{way} {path.relative_to(root)}"


def changed(data: bytes, way: str, rng: np.random.Generator) -> bytes:
    """Change some bytes of a file."""
    place = int(rng.integers(len(data)))
    if way == "cut":
        return data[:place]
    if way == "zeros":
        return data[:place] + bytes(len(data[place : place + 512])) + data[place + 512 :]
    return data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]


def resealed(root: Path, rng: np.random.Generator) -> str:
    """Change one part of a bundle, and set every checksum right again."""
    current = json.loads((root / CURRENT).read_bytes())
    generation = root / current["generation"]
    choices = [CURRENT, MANIFEST, "log", *(path.relative_to(generation).as_posix() for path in _files(generation))]
    name = choices[int(rng.integers(len(choices)))]
    if name in (CURRENT, MANIFEST):
        path = root / CURRENT if name == CURRENT else generation / MANIFEST
        content = json.loads(path.read_bytes())
        del content[CHECKSUM]
        what = _one_value_changed(content, rng)
        _seal(path, content, root)
        return f"{name} {what}"
    way = ("bit", "bit", "zeros", "cut")[int(rng.integers(4))]
    if name == "log":
        return f"{way} {_log_changed(root, current, way, rng)}"
    path = generation / name
    path.write_bytes(data := changed(path.read_bytes(), way, rng))
    if path.parent.name == "store":
        renamed = path.with_name(f"{path.stem.split('-')[0]}-{hashlib.sha256(data).hexdigest()[:32]}.parquet")
        path = path.rename(renamed)
    manifest = json.loads((generation / MANIFEST).read_bytes())
    del manifest[CHECKSUM]
    for record in manifest["files"]:
        if record["name"] == name:
            record |= {"name": path.relative_to(generation).as_posix(), "size": len(data)}
            record["sha256"] = hashlib.sha256(data).hexdigest()
    (generation / MANIFEST).write_bytes(seal(manifest))
    return f"{way} {name}"


def _one_value_changed(content: Any, rng: np.random.Generator) -> str:  # noqa: ANN401 - any JSON
    """Put something odd in the place of one value, however deep, or take it away."""
    path: list[str] = []
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        key = keys[int(rng.integers(len(keys)))]
        path.append(str(key))
        inner = content[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            content = inner
            continue
        if isinstance(content, dict) and rng.random() < 0.15:
            del content[key]
        else:
            content[key] = ODD[int(rng.integers(len(ODD)))]
        return "/".join(path)


def _log_changed(root: Path, current: dict[str, Any], way: str, rng: np.random.Generator) -> str:
    batches = sorted((root / "log").iterdir())
    path = batches[int(rng.integers(len(batches)))]
    data = changed(path.read_bytes(), way, rng)
    path.unlink()
    path.with_name(f"{path.stem.split('-')[0]}-{hashlib.sha256(data).hexdigest()[:32]}.arrow").write_bytes(data)
    del current[CHECKSUM]
    current["digest"] = digest_of([one.name for one in sorted((root / "log").iterdir())])
    _seal(root / CURRENT, current, root)
    return "log"


def _seal(path: Path, content: dict[str, Any], root: Path) -> None:
    path.write_bytes(seal(content))
    if path.name == CURRENT:
        shutil.copyfile(path, root / COPY)


def _files(generation: Path) -> list[Path]:
    return [path for path in sorted(generation.rglob("*")) if path.is_file() and path.name != MANIFEST]


def _in_force(path: Path, root: Path) -> bool:
    if path.name in (COPY, "LOCK"):
        return False
    state = json.loads((root / CURRENT).read_bytes())
    part = path.relative_to(root).parts[0]
    return part in (CURRENT, "log", state["generation"]) and path.stat().st_size > 0


def tried(root: Path, mutate: Mutate, seed: int, *, sealed: bool) -> Outcome:
    """Make one mutant of a bundle, and use it."""
    with tempfile.TemporaryDirectory() as folder:
        mutant = Path(folder) / "bundle"
        shutil.copytree(root, mutant)
        what = mutate(mutant, np.random.default_rng(seed))
        try:
            return use(mutant, sealed=sealed)._replace(what=what)
        except CommonspaceError as error:
            return Outcome("refused", what, type(error).__name__)
        except BaseException as error:  # whatever it is, it is counted
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename
            ]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
            return Outcome("untyped", what, f"{type(error).__name__}: {str(error)[:120]} at {place}")


def _work(pipe: Connection, root: Path, sealed: bool) -> None:
    import warnings

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    mutate = resealed if sealed else damaged
    while (seed := pipe.recv()) is not None:
        pipe.send(tried(root, mutate, seed, sealed=sealed))


def campaign(root: Path, count: int, seed: int, *, sealed: bool) -> Iterator[Outcome]:
    """Try so many mutants, one after the other, in a process that is begun anew whenever one ends it."""
    spawn, worker, pipe = multiprocessing.get_context("spawn"), None, None
    for number in range(count):
        if worker is None or pipe is None:
            pipe, other = spawn.Pipe()
            worker = spawn.Process(target=_work, args=(other, root, sealed), daemon=True)
            worker.start()
            other.close()
        pipe.send(seed * 1_000_003 + number)
        try:
            if not pipe.poll(SECONDS):
                raise EOFError
            yield pipe.recv()
        except (EOFError, ConnectionError):
            worker.kill()
            worker.join()
            yield Outcome("signal", f"seed {seed * 1_000_003 + number}", f"exit {worker.exitcode}")
            worker = None
    if worker is not None and pipe is not None:
        pipe.send(None)
        worker.join()


def counted(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count what became of mutants, and list those that are bad."""
    kinds = Counter(outcome.kind for outcome in outcomes)
    counts = {kind: kinds[kind] for kind in ("opened", "refused", *BAD)}
    return {"tried": len(outcomes), **counts, "bad": [one._asdict() for one in outcomes if one.kind in BAD]}


def main() -> None:
    """Run the campaign, and keep its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", type=int, default=900)
    parser.add_argument("--sealed", type=int, default=1100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = made_bundle(Path(folder))
        whole = use(root, sealed=True)
        if whole.kind != "opened":
            raise SystemExit(f"the bundle itself is {whole}")
        with ThreadPoolExecutor(2) as both:  # each waits for a process of its own
            plain = both.submit(lambda: list(campaign(root, asked.plain, asked.seed, sealed=False)))
            sealed = both.submit(lambda: list(campaign(root, asked.sealed, asked.seed, sealed=True)))
        result = {"damaged": counted(plain.result()), "sealed again": counted(sealed.result())}
    keep("damage", result, asked.seed)


if __name__ == "__main__":
    main()
