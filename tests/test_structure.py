"""What keeps the code in shape: no circles of imports, light front doors, honest exports, small files, plain names."""

import ast
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from retrieval import Retriever

ROOT = Path(__file__).parent.parent
PACKAGES = ("indexing", "retrieval")
SOURCES = sorted(path for package in (*PACKAGES, "scripts") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 40
MOST_ENTRIES = 13  # modules and folders of a folder
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
# File names of an earlier dialect, which nobody could guess.
RIDDLES = {
    "lessons", "cut", "moved", "opened", "opening", "block", "blocks", "in_force", "amounts", "words", "judging",
    "taught", "going_on", "gate", "fitted", "newcomers", "later_stages", "parts", "verdict", "known_answers",
    "told", "described", "shaping", "sides", "questions", "lookalikes", "tallies", "sealed", "packing", "films",
    "sounds", "pictures", "goals", "promise", "occupancy", "effort", "exact", "pairs", "pixels", "row_adam", "mining",
    "closed_form", "search_floor", "upkeep", "asked", "explained", "learn", "listed", "logged", "pushes",
}  # fmt: skip

# Names of classes and functions of an earlier dialect.
RIDDLE_NAMES = {
    "Promise", "Efforts", "Tower", "Given", "Once", "once", "each_once", "Kept", "Shown", "Shape", "Carried", "Keys",
    "Lists", "Saved", "Answered", "FilmLimits", "SoundLimits", "PictureLimits", "gathered", "least_liked",
    "asked_of", "worded", "weighed", "past_rows", "some", "taken", "filled", "blank", "picked", "moved", "lasting",
    "between", "standard", "sum_of", "sealed", "HeldOutUsers", "choose_few", "choose_serving", "choose_weights",
    "learn", "learn_behaviour", "learn_attention", "learn_ease", "learn_next", "learn_next_items", "learn_recent",
    "learn_sources", "learn_features", "learn_predictor", "learn_profile_taste", "learn_position_curve", "Learner",
    "StageLearner", "AdapterLearner", "check_books", "touches_of", "neighbour_lines", "lines_of", "matching_of",
    "Matching", "Verdicts", "held", "dropped", "profiled", "spelled", "usual_repeats",
}  # fmt: skip

# Identifiers of it, in packages, scripts and tests.
RIDDLE_IDENTIFIERS = {
    "pasts", "PASTS", "taught", "way_out", "going_on", "in_force", "foretold", "nearness", "moments_taught", "told_of",
    "told_by", "judged_items", "wanted_shares",
}  # fmt: skip

# Phrases of it, in docstrings, messages and comments.
RIDDLE_PHRASES = re.compile(
    r"\b(in force|foretold|taught|goes on|going on|went on|gone on|of late|what came (before|since)|way out|pasts)\b",
    re.IGNORECASE,
)


@cache
def imported(path: Path) -> frozenset[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return frozenset(names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_at_home(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = {"indexing": {"retrieval", "scripts"}, "retrieval": {"scripts"}, "scripts": set()}[package]
    assert not imported(path) & forbidden
    assert path.stem not in DRAWERS | (RIDDLES if package in PACKAGES else set())
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST_FILE
    if package != "scripts":
        assert not imported(path) & {"pickle", "joblib", "dill", "shelve", "yaml"}
    tree = ast.parse("\n".join(lines))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert package not in PACKAGES or not defined & RIDDLE_NAMES
    assert package not in PACKAGES or not RIDDLE_PHRASES.findall("\n".join(lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_identifier_is_of_the_dialect(path: Path) -> None:
    identifiers: set[str | None] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.keyword(arg=name) | ast.Attribute(attr=name):
                identifiers.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                identifiers.add(name)
    assert not identifiers & RIDDLE_IDENTIFIERS


FOLDERS = sorted(path.parent for package in PACKAGES for path in (ROOT / package).rglob("__init__.py"))


def entries(folder: Path) -> set[str]:
    """Modules and packages of a folder, `__main__` with them: all but its face."""
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    return packages | {path.stem for path in folder.glob("*.py")} - {"__init__"}


def imports_within(folder: Path) -> dict[str, set[str]]:
    """For each entry of a folder the entries beside it that it imports, anywhere but for types alone."""
    package, beside = ".".join(folder.relative_to(ROOT).parts), entries(folder)
    found: dict[str, set[str]] = {name: set() for name in beside}
    for name in beside:
        files = (folder / name).rglob("*.py") if (folder / name).is_dir() else [folder / f"{name}.py"]
        for path in files:
            for module in modules_imported(path):
                first = module.removeprefix(f"{package}.").split(".")[0] if module.startswith(f"{package}.") else ""
                if first in beside - {name}:
                    found[name].add(first)
    return found


@cache
def modules_imported(path: Path) -> frozenset[str]:
    """Full names of what a file imports, names of modules with it, but for what only type checkers read."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_small_says_what_it_is_for_and_has_no_circle(folder: Path) -> None:
    assert len(entries(folder)) <= MOST_ENTRIES
    assert len(ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "") >= 20, "a face says nothing"
    left = imports_within(folder)
    while low := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in low:
            del left[name]
    assert not left, f"these import each other in a circle: {sorted(left)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_the_face_of_a_folder_that_holds_it(path: Path) -> None:
    inside = path.relative_to(ROOT).with_suffix("").parts
    if path.name in ("__init__.py", "__main__.py") or inside[0] not in PACKAGES:
        return
    above = {".".join(inside[:deep]) for deep in range(1, len(inside))}
    for module in modules_imported(path):
        package, _, name = module.rpartition(".")
        target = ROOT.joinpath(*module.split("."))
        if package in above and name:
            assert target.with_suffix(".py").exists() or target.is_dir(), f"{module}: import it from its module"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_stays_where_it_must_be(path: Path) -> None:
    inside = path.relative_to(ROOT).parts
    if inside[:2] in (("indexing", "encoders"), ("retrieval", "training")) or inside[0] == "scripts":
        return
    assert "torch" not in imported(path)


def test_all_verbs_are_written_where_the_retriever_is() -> None:
    assert Retriever.__mro__ == (Retriever, object)


def test_only_fsops_writes() -> None:
    forbidden = ("write_index(", "os.replace(", "os.rename(", ".write_bytes(", ".write_text(", '.open("w')
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in PACKAGES and path.name != "fsops.py":
            code = path.read_text().replace("fsops.write_bytes(", "")
            if path.name == "faiss_base.py":  # where FAISS writes through fsops
                code = code.replace("faiss.write_index(index, faiss.PyCallbackIOWriter(write))", "")
            assert not [call for call in forbidden if call in code], path


def test_front_doors_are_light() -> None:
    probe = "import json, sys, indexing, retrieval, retrieval.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True).stdout)
    heavy = {"torch", "faiss", "transformers", "open_clip", "timm", "datasets", "ir_measures", "scipy", "pandas"}
    assert not heavy & set(loaded)


def test_a_process_that_decodes_files_loads_no_tables() -> None:
    """As many of them as there are cores start with each build, and a pool for each bundle."""
    probe = "import json, sys, indexing.media.decode; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True).stdout)
    assert not {"pyarrow", "pandas", "rich", "filelock"} & set(loaded)
    ours = {name for name in loaded if name.startswith("indexing.") and not name.startswith("indexing.media")}
    assert ours == {
        "indexing.errors",
        *(f"indexing.runtime{name}" for name in ("", ".arguments", ".safe_text", ".threads", ".warn")),
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_exports_are_what_all_says(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__)
    for export in module.__all__:  # what is imported when it is first asked for is there too
        assert getattr(module, export).__name__ == export
    submodules = {path.stem for path in (ROOT / name).iterdir()} | {"TYPE_CHECKING", "importlib", "warnings"}
    public = {export for export in dir(module) if not export.startswith("_")} - submodules
    assert public | (set(module.__all__) & submodules) == set(module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_random_examples_are_the_same_in_each_run() -> None:
    assert settings().derandomize
    assert settings().deadline is None


def test_tests_mirror_the_packages() -> None:
    assert {path.name for path in (ROOT / "tests").iterdir() if path.name in PACKAGES} == set(PACKAGES)
    left = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    assert left == {"test_agree", "test_figures", "test_structure"}
