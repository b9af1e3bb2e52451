"""The glossary has at most twenty words, each explained in one or two sentences, and none twice."""

import re

from tests.paths import ROOT

PAGE = (ROOT / "docs" / "reference" / "glossary.md").read_text()
WORDS = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)[1:]
MOST = 20


def test_words_are_few_and_plainly_explained() -> None:
    names = [name for name, _ in WORDS]
    assert 10 <= len(names) <= MOST
    assert len(set(names)) == len(names)
    for name, meaning in WORDS:
        assert 1 <= len(re.findall(r"\.(?: |$)", meaning)) <= 2, name
        assert max(len(sentence.split()) for sentence in meaning.split(". ")) <= 25, name
