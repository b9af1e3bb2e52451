"""Entries of docs/log.md say question, what was tried, result and decision, in this order, each in one paragraph."""

import re

from tests.paths import ROOT

LOG = (ROOT / "docs" / "log.md").read_text()
OLDER = "## 2026-11-28: a refresh once more"  # what stands below was written before the rule
PARTS = ["Question", "Tried", "Result", "Decision"]


def test_entries_follow_the_rule() -> None:
    newest, older = LOG.split(OLDER)
    assert older
    _, *sections = re.split(r"^## ", newest, flags=re.MULTILINE)
    assert len(sections) >= 10
    for section in sections:
        title, _, text = section.partition("\n")
        assert re.match(r"\d{4}-\d\d-\d\d: \w", title), title
        entries = re.split(r"(?=\*Question\.\*)", text)
        assert not entries[0].strip(), f"{title}: what stands before the first question?"
        for entry in entries[1:]:
            assert re.findall(rf"\*({'|'.join(PARTS)})\.\*", entry) == PARTS, f"{title}: {entry[:80]}"
