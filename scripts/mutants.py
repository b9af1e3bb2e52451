"""Change the code in one place at a time and see whether a test notices: a test of the tests.

    python -m pytest --cov=indexing --cov=retrieval --cov-context=test --cov-report=
    python -m scripts.mutants .coverage [--count 100] [--seed 0] [--out mutants.json]
        [--leave-out TEST …]

Needs `pip install pytest-cov`. Sites are drawn from all comparisons, sums, products, `and`, `or`, `not`, conditions,
numbers and booleans of both packages. Each change is made in a copy of the checkout, where tests that ran the changed
line are run until one fails; of a line that is run at import, those that ran any line of the file. Tests that ran the
fewest lines come first, then some of each test file. A run that was stopped goes on where it stopped. Tests that fail
without any change are left out.
"""

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from scripts.benchmarks.record import state_of

ROOT = Path(__file__).parent.parent
PACKAGES = ("indexing", "retrieval")
FEW = 25  # tests tried first
MORE = 100  # tests tried of what survives these
LIMIT_S = 300  # seconds; a few tests that take longer do not end
OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change: ``old`` at ``line`` and ``column`` (from 1 and 0) of ``path`` becomes ``new``."""

    path: str
    line: int
    column: int
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Make the change in a checkout."""
        path = root / self.path
        lines = path.read_text().splitlines(keepends=True)
        raw = lines[self.line - 1].encode()
        end = self.column + len(self.old.encode())
        if raw[self.column : end].decode() != self.old:
            raise ValueError(f"{self} does not fit the file")
        lines[self.line - 1] = (raw[: self.column] + self.new.encode() + raw[end:]).decode()
        path.write_text("".join(lines))


def sites(path: str, source: str) -> Iterator[Mutant]:
    """All changes that are tried of a file; each touches one line."""
    lines = [line.encode() for line in source.splitlines()]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                yield from _between(path, lines, left, operator, right)
            case ast.BinOp(left=left, op=operator, right=right) if not isinstance(left, ast.Constant | ast.JoinedStr):
                yield from _between(path, lines, left, operator, right)
            case ast.BoolOp(op=operator, values=[left, right, *_]):
                yield from _between(path, lines, left, operator, right)
            case ast.UnaryOp(op=ast.Not(), operand=operand) if operand.lineno == node.lineno:
                old = lines[node.lineno - 1][node.col_offset : operand.col_offset].decode()
                yield Mutant(path, node.lineno, node.col_offset, old, "")
            case ast.Constant(value=bool() as value):
                yield Mutant(path, node.lineno, node.col_offset, str(value), str(not value))
            case ast.Constant(value=int() as value) if node.lineno == node.end_lineno:
                old = lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()
                yield Mutant(path, node.lineno, node.col_offset, old, str(value + 1))
            case ast.If(test=test) | ast.IfExp(test=test) if test.lineno == test.end_lineno:
                old = lines[test.lineno - 1][test.col_offset : test.end_col_offset].decode()
                yield Mutant(path, test.lineno, test.col_offset, old, f"(not ({old}))")


def _between(path: str, lines: list[bytes], left: ast.expr, operator: ast.AST, right: ast.expr) -> Iterator[Mutant]:
    """Swap the operator between two expressions that lie on one line."""
    if type(operator) not in OPERATORS or left.end_lineno != right.lineno:
        return
    old, new = OPERATORS[type(operator)]
    start = left.end_col_offset or 0
    gap = lines[right.lineno - 1][start : right.col_offset].decode()
    if (found := re.search(rf"(?<!\S){re.escape(old)}(?!\S)", gap)) is not None:
        yield Mutant(path, right.lineno, start + len(gap[: found.start()].encode()), old, new)


def drawn(count: int, seed: int) -> list[Mutant]:
    """As many changes, drawn without replacement from all files of both packages."""
    found = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        found += sorted(set(sites(str(path.relative_to(ROOT)), path.read_text())))
    return random.Random(seed).sample(found, count)  # noqa: S311 - a sample, no secret


class Tests:
    """Which tests ran a line, by a coverage file with contexts."""

    def __init__(self, coverage: Path, left_out: Sequence[str] = ()) -> None:
        from coverage import CoverageData

        self._data = CoverageData(str(coverage))
        self._data.read()
        self._left_out = frozenset(left_out)
        self._sizes: dict[str, int] = {}
        for name in self._data.measured_files():
            for contexts in self._data.contexts_by_lineno(name).values():
                for context in contexts:
                    self._sizes[context] = self._sizes.get(context, 0) + 1

    @cache  # noqa: B019 - one object a run
    def _lines(self, path: str) -> dict[int, list[str]]:
        names = [name for name in self._data.measured_files() if name.endswith(os.sep + path)]
        return self._data.contexts_by_lineno(names[0]) if names else {}

    def of(self, path: str, line: int) -> list[str]:
        """The ids of tests that ran a line, those that ran the fewest lines first."""
        lines = self._lines(path)
        contexts = {context for context in lines.get(line, []) if context}
        if not contexts:  # run at import, or by other processes
            contexts = {context for ran in lines.values() for context in ran if context}
        ordered = sorted(contexts, key=lambda context: (self._sizes[context], context))
        ids = dict.fromkeys(context.rsplit("|", 1)[0] for context in ordered)
        return [test for test in ids if test not in self._left_out]


def of_each_file(tests: Sequence[str]) -> list[str]:
    """The first test of each file, then the second of each, and so on."""
    places: Counter[str] = Counter()
    order = []
    for test in tests:
        file = test.split("::")[0]
        order.append((places[file], test))
        places[file] += 1
    return [test for _, test in sorted(order, key=lambda pair: pair[0])]


def survives(root: Path, tests: Sequence[str]) -> bool:
    """Whether none of the tests fails in a checkout, within the time that there is."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    try:
        run = subprocess.run(command, cwd=root, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def judge(mutant: Mutant, root: Path, tests: Tests) -> str:
    """`killed`, `survived`, or `not run`: no test runs its file in the tests' own process."""
    ran = tests.of(mutant.path, mutant.line)
    if not ran:
        return "not run"
    mutant.apply(root)
    try:
        few, rest = ran[:FEW], ran[FEW:]
        more = of_each_file(rest)[:MORE]
        return "survived" if survives(root, few) and (not more or survives(root, more)) else "killed"
    finally:
        shutil.copy2(ROOT / mutant.path, root / mutant.path)


def main() -> None:
    """Judge mutants one after the other, and keep what was found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coverage", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    parser.add_argument("--leave-out", nargs="+", default=[], help="ids of tests that fail without a change")
    given = parser.parse_args()
    done = json.loads(given.out.read_text())["mutants"] if given.out.exists() else []
    tests = Tests(given.coverage, given.leave_out)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv", ".mypy_cache", "__pycache__"))
        for mutant in drawn(given.count, given.seed)[len(done) :]:
            done.append({**asdict(mutant), "verdict": judge(mutant, root, tests)})
            print(len(done), done[-1], flush=True)
            record = {"seed": given.seed, **state_of(ROOT), "mutants": done}
            given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
