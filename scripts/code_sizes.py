"""How large the modules of both packages are: the row of the table of sizes in docs/architecture.md.

python -m scripts.code_sizes

Faces (`__init__.py`) are not counted. Floors are the longest chain of imports between the entries of a package.
"""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
PACKAGES = ("indexing", "retrieval")


class Sizes(NamedTuple):
    """Sizes of the modules of both packages.

    Attributes:
        modules: How many there are.
        median: Lines of a module.
        p90: Lines that nine of ten modules do not exceed.
        longest: Lines of the longest module.
        entries: Modules and folders at the top level of each package.
        floors: The longest chain of imports between these entries, for each package.
    """

    modules: int
    median: int
    p90: int
    longest: int
    entries: tuple[int, ...]
    floors: tuple[int, ...]

    def __str__(self) -> str:
        entries, floors = (" and ".join(map(str, values)) for values in (self.entries, self.floors))
        numbers = self.modules, self.median, self.p90, self.longest
        return f"| `indexing` and `retrieval` now | {' | '.join(map(str, numbers))} | {entries} | {floors} |"


def count(root: Path = ROOT) -> Sizes:
    """Count the modules of both packages below a folder."""
    modules = [path for name in PACKAGES for path in (root / name).rglob("*.py") if path.name != "__init__.py"]
    lines = [len(path.read_text().splitlines()) for path in modules]
    median, p90 = (round(float(value)) for value in np.quantile(lines, [0.5, 0.9]))
    edges = [imports_between(root / name) for name in PACKAGES]
    return Sizes(len(lines), median, p90, max(lines), tuple(map(len, edges)), tuple(map(num_floors, edges)))


def imports_between(package: Path) -> dict[str, set[str]]:
    """For each entry of a package the others that it imports."""
    edges: dict[str, set[str]] = {
        path.stem: set() for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    del edges["__init__"]
    for path in package.rglob("*.py"):
        entry = path.relative_to(package).parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]  # what only type checkers read
        for node in ast.walk(tree):
            names = [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            targets = {parts[1] for name in names if (parts := name.split("."))[0] == package.name}
            if entry in edges:
                edges[entry] |= targets & edges.keys() - {entry}
    return edges


def num_floors(edges: dict[str, set[str]]) -> int:
    """Count the entries on the longest chain of imports; a chain never comes back to where it was.

    >>> num_floors({"arrays": set(), "index": {"arrays"}, "bundle": {"index", "arrays"}})
    3
    """

    @cache
    def floor(entry: str) -> int:
        return 1 + max(map(floor, edges[entry]), default=0)

    return max(map(floor, edges))


if __name__ == "__main__":
    print(count())
