"""The table of stages in docs/explanation/second_stage.md has every label that an answer may have."""

import ast
import re

from retrieval.candidates import sources
from retrieval.postprocess import blend
from retrieval.postprocess.diversify import greedy
from retrieval.postprocess.rules import ruled_lists
from retrieval.ranking import cross_encoder, fusion, reranker
from retrieval.retriever.queries import hybrid_search
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "explanation" / "second_stage.md").read_text()


def written_out() -> set[str]:
    """Give the stages that are written out where candidates are made."""
    labels: set[str] = set()
    for path in (ROOT / "retrieval").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Candidates" and len(node.args) > 4:
                labels |= {str(node.args[4].value)} if isinstance(node.args[4], ast.Constant) else set()
    return labels


def test_each_label_is_explained() -> None:
    section = PAGE.partition("## Stages and their labels")[2].partition("\n**Sources of hits.**")[0]
    table = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)[1:]
    named = {
        reranker.STAGE,
        sources.EXACT,
        cross_encoder.STAGE,
        blend.STAGE,
        greedy.STAGE,
        ruled_lists.STAGE,
        fusion.FUSED,
        hybrid_search.WORDS,
    }
    assert written_out() >= {"retrieve", "pool"}
    assert set(table) == named | written_out() - {"baseline"}  # lists of baselines are measured, and not shown
    assert len(table) == len(set(table))
