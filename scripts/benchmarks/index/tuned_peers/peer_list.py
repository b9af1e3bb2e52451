"""Which peers there are: the packages of each, its runner, its settings, and the efforts that are tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmarks.index.tuned_peers.tuning import Ladder

EF = (10, 20, 40, 60, 80, 120, 160, 200, 240, 280, 320, 400, 500, 640, 800, 1000, 1300, 1600, 2000, 3000, 4000)
LISTS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Peer:
    """A library with settings.

    Attributes:
        name: In tables, and of the file of its results.
        runner: The module in `runners`.
        ladders: Efforts that are tried, see `tuning`.
        settings: As its runner takes them.
        packages: What pip installs into its environment; none: it runs in this one.
        environment: The name of its environment.
        names: Of installed packages whose versions are recorded.
        slow: Whether its build takes about a minute and more for 200,000 vectors; these are measured last.
    """

    name: str
    runner: str
    ladders: Sequence[Ladder]
    settings: Mapping[str, Any] = field(default_factory=dict)
    packages: Sequence[str] = ()
    environment: str = ""
    names: Sequence[str] = ()
    slow: bool = False


def ladder(name: str, values: Sequence[float], **fixed: int) -> Ladder:
    """Make a ladder of one growing setting, with others that stay.

    >>> ladder("ef", (10, 20), refined=5)
    [{'ef': 10, 'refined': 5}, {'ef': 20, 'refined': 5}]
    """
    return [{name: value, **fixed} for value in values]


def _refined(name: str, values: Sequence[float], refined: Sequence[int]) -> Sequence[Ladder]:
    return [ladder(name, values, refined=each) for each in refined]


def _of(package: str, pinned: str, *others: str) -> dict[str, Any]:
    return {"packages": (f"{package}=={pinned}", *others), "environment": package, "names": (package,)}


def _faiss(name: str, factory: str, ladders: Sequence[Ladder], **settings: object) -> Peer:
    about = {"factory": factory, **settings}
    return Peer(f"FAISS {name}", "faiss_factory", ladders, about, names=("faiss-cpu",))


_LISTS_REFINED = _refined("nprobe", LISTS, (50, 100, 200))

PEERS = (
    *(
        Peer(f"Commonspace {kind}", "commonspace_index", [[{}]], settings, names=("faiss-cpu",))
        for kind, settings in (("auto", {"recall": 0.95}), ("ivf", {"recall": 0.95, "kind": "ivf"}))
    ),
    _faiss("exact", "Flat", [[{}]]),
    Peer(
        "ScaNN",
        "scann_tree",
        _refined("leaves", (5, 10, 20, 40, 60, 90, 130, 200, 300, 450, 700, 1000), (50, 100, 200, 400)),
        **_of("scann", "1.4.2"),
    ),
    Peer(
        "turbovec 4 bit",
        "turbovec_scan",
        [ladder("refined", (10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 640))],
        {"bits": 4},
        **_of("turbovec", "1.1.2"),
    ),
    Peer(
        "RaBitQ IVF 7 bit",
        "rabitq",
        [ladder("nprobe", LISTS)],
        {"kind": "ivf", "bits": 7},
        **_of("rabitqlib", "0.7.1"),
    ),
    Peer(
        "RaBitQ SymphonyQG",
        "rabitq",
        [ladder("ef", EF)],
        {"kind": "symqg", "degree": 32, "ef_construction": 200},
        slow=True,
        **_of("rabitqlib", "0.7.1"),
    ),
    _faiss("IVF RaBitQ fast scan 4 bit", "RR,IVF{lists},RaBitQfs4,Refine(SQfp16)", _LISTS_REFINED),
    _faiss("IVF TurboQuant 4 bit", "RR,IVF{lists},SQtqmse4,Refine(SQfp16)", _LISTS_REFINED),
    _faiss("IVF Panorama", "PCA512,IVF{lists},FlatPanorama8_64", [ladder("nprobe", LISTS)], metric="l2"),
    _faiss("IVF PQ fast scan", "RR,IVF{lists},PQ256x4fs,Refine(SQfp16)", _LISTS_REFINED),
    _faiss(
        "IVF PQ fast scan, SuperKMeans",
        "RR,IVF{lists},PQ256x4fs,Refine(SQfp16)",
        _LISTS_REFINED,
        super_kmeans=True,
    ),
    _faiss("HNSW", "HNSW16", [ladder("ef", EF)]),
    Peer("usearch", "usearch_graph", [ladder("ef", EF)], {"m": 16}, slow=True, **_of("usearch", "2.26.6")),
    Peer("hnswlib", "hnswlib_graph", [ladder("ef", EF)], {"m": 16}, slow=True, **_of("hnswlib", "0.8.0")),
    Peer(
        "LanceDB IvfRq 2 bit",
        "lancedb_table",
        _refined("nprobe", (1, 2, 4, 8, 16, 32, 64, 128), (50, 100, 200)),
        {"codes": "IvfRq", "options": {"num_bits": 2}},
        **_of("lancedb", "0.40.0"),
    ),
    Peer(
        "LanceDB HnswSq",
        "lancedb_table",
        [ladder("ef", (20, 40, 80, 160, 320, 640, 1280), refined=10)],
        {"codes": "HnswSq", "options": {"m": 16}},
        slow=True,
        **_of("lancedb", "0.40.0"),
    ),
    Peer(
        "autofaiss",
        "autofaiss_choice",
        [ladder("ef", EF)],
        slow=True,
        **_of("autofaiss", "2.18.0", "numpy<2", "pyarrow<21"),
    ),
    Peer(
        "SVS LeanVec",
        "svs_vamana",
        [ladder("window", EF)],
        {"codes": "leanvec", "dims": 128, "degree": 32},
        slow=True,
        **_of("scalable-vs", "0.5.0"),
    ),
    Peer(
        "SVS Vamana float16",
        "svs_vamana",
        [ladder("window", EF)],
        {"codes": "float16", "degree": 32},
        slow=True,
        **_of("scalable-vs", "0.5.0"),
    ),
    Peer(
        "VSAG HGraph",
        "vsag_hgraph",
        [ladder("ef", EF[:16])],
        {"degree": 32, "ef_construction": 200},
        slow=True,
        **_of("pyvsag", "0.18.5", "numpy"),
    ),
    Peer(
        "NGT graph",
        "ngt_graph",
        [ladder("epsilon", (0.0, 0.01, 0.02, 0.03, 0.04, 0.045, 0.05, 0.055, 0.06, 0.07, 0.08, 0.1, 0.15, 0.2))],
        {"codes": "none", "edges": 20},
        slow=True,
        **_of("ngt", "2.8.0.post1"),
    ),
    Peer("NGT-QG", "ngt_graph", [[{"epsilon": 0.1}]], {"codes": "qg", "edges": 20}, **_of("ngt", "2.8.0.post1")),
)
