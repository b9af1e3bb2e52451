"""What is measured is what is served: benchmarks of quality learn and ask through the public faces alone."""

import ast

import pytest

from tests.paths import ROOT

BENCHMARKS = ROOT / "scripts" / "benchmarks"
# Benchmarks whose figures say how good recommendations are; what they import of scripts.benchmarks is followed.
QUALITY = ("two_stage", "new_users", "diversity", "music")
# Where bundles are built, learned and asked; where lists are judged, and varied; whom they are compared with; and plain
# types. Settings are public: `FitConfig` takes them.
PUBLIC = {
    "indexing.bundle.build",
    "indexing.catalogue.catalogue",
    "indexing.encoders",
    "indexing.encoders.base",
    "indexing.errors",
    "indexing.catalogue.item_ids",
    "indexing.media.images",
    "indexing.arrays",
    "retrieval",
    "retrieval.models.features.attribute_values",
    "retrieval.evaluation.baselines",
    "retrieval.evaluation.baselines.recommender",
    "retrieval.candidates",
    "retrieval.postprocess.diversify",
    "retrieval.evaluation",
    "retrieval.evaluation.splits.leaks",
    "retrieval.evaluation.splits.queries",
    "retrieval.evaluation.statistics",
    "retrieval.evaluation.splits.splits",
    "retrieval.evaluation.beyond_accuracy",
    "retrieval.interactions.interactions",
    "retrieval.training.config",
    "retrieval.training.ranker_config",
}
OURS = ("indexing", "retrieval", "scripts")


def imported(code: str) -> set[str]:
    """Modules of this project that code imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if is_module(node.module, alias.name)}
    return {name for name in found if name.split(".")[0] in OURS}


def is_module(package: str, name: str) -> bool:
    """Whether a name of a package is a module, as in ``from retrieval import fit_report``.

    A name that the package itself exports is what it exports: ``from retrieval import fit`` is the function.
    """
    folder = ROOT.joinpath(*package.split("."))
    if not ((folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()):
        return False
    exports = folder / "__init__.py"
    return not exports.exists() or f'"{name}"' not in exports.read_text()


def below(code: str, seen: set[str]) -> set[str]:
    """Modules that code imports, by way of scripts too, and that are not public."""
    found: set[str] = set()
    for module in imported(code):
        if module.startswith("scripts."):
            path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            if module not in seen and path.exists():
                seen.add(module)
                found |= {f"{one} by way of {path.stem}" for one in below(path.read_text(), seen)}
        elif module not in PUBLIC:
            found.add(module)
    return found


@pytest.mark.parametrize("name", QUALITY)
def test_benchmarks_of_quality_go_through_the_public_faces(name: str) -> None:
    assert not below((BENCHMARKS / "recommend" / f"{name}.py").read_text(), set())


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("from retrieval.training.ranker.ranker import StageTrainer", "retrieval.training.ranker.ranker"),
        ("def late():\n    import retrieval.models.item_space", "retrieval.models.item_space"),
        ("from retrieval.models import item_space", "retrieval.models.item_space"),
        (
            "from scripts.benchmarks.rerank.stage_world import World",
            "retrieval.models.item_space by way of stage_world",
        ),
    ],
)
def test_what_is_wired_by_hand_is_found(code: str, module: str) -> None:
    assert module in below(code, set())


def test_verbs_are_public() -> None:
    code = "from retrieval import Candidates, Retriever, fit\nfrom retrieval.evaluation import compare, evaluate"
    assert not below(code, set())


@pytest.mark.parametrize("name", QUALITY)
def test_benchmarks_of_quality_learn_with_the_default_configuration(name: str) -> None:
    """Settings of `FitConfig` are named where one of them is what is measured, and nowhere else."""
    measured = {"attention": {"behaviour"}}
    for node in ast.walk(ast.parse((BENCHMARKS / "recommend" / f"{name}.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "FitConfig":
            assert {keyword.arg for keyword in node.keywords} <= measured.get(name, set())
            assert not node.args
