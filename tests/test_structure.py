"""What keeps the code in shape: one-way imports, a light front door, honest exports, small files."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
PACKAGES = ("indexing", "retrieval")
SOURCES = sorted(path for package in (*PACKAGES, "scripts") for path in (ROOT / package).rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 40
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_at_home(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = {"indexing": {"retrieval", "scripts"}, "retrieval": {"scripts"}, "scripts": set()}[package]
    assert not imported(path) & forbidden
    assert path.stem not in DRAWERS
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST_FILE
    if package != "scripts":
        assert not imported(path) & {"pickle", "joblib", "dill", "shelve", "yaml"}
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_stays_where_it_must_be(path: Path) -> None:
    inside = path.relative_to(ROOT).parts
    if inside[:2] in (("indexing", "encoders"), ("retrieval", "training")) or inside[0] == "scripts":
        return
    assert "torch" not in imported(path)


def test_only_fsops_writes() -> None:
    forbidden = ("write_index(", "os.replace(", "os.rename(", ".write_bytes(", ".write_text(", '.open("w')
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in PACKAGES and path.name != "fsops.py":
            code = path.read_text().replace("fsops.write_bytes(", "")
            if path.name == "faiss_io.py":  # where FAISS writes through fsops
                code = code.replace("faiss.write_index(index, faiss.PyCallbackIOWriter(write))", "")
            assert not [call for call in forbidden if call in code], path


def test_front_doors_are_light() -> None:
    probe = "import json, sys, indexing, retrieval, retrieval.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True).stdout)
    assert not {"torch", "faiss", "transformers", "open_clip", "timm", "datasets", "ir_measures", "scipy"} & set(loaded)


@pytest.mark.parametrize("name", PACKAGES)
def test_exports_are_what_all_says(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__)
    submodules = {path.stem for path in (ROOT / name).iterdir()}
    public = {export for export in vars(module) if not export.startswith("_")} - submodules
    assert public | (set(module.__all__) & submodules) == set(module.__all__)


def test_random_examples_are_the_same_in_each_run() -> None:
    assert settings().derandomize
    assert settings().deadline is None
