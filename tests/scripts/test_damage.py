"""A sample of the campaign of damaged and hostile bundles: no signal, no untyped error, nothing silent."""

from pathlib import Path

import pytest

from scripts.benchmarks.live.damage import BAD, campaign, made_bundle, use

pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_bundle(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize(("count", "sealed"), [(20, False), (40, True)])
def test_no_mutant_ends_the_process_or_goes_unnoticed(root: Path, count: int, sealed: bool) -> None:
    outcomes = list(campaign(root, count, seed=1, sealed=sealed))
    assert [outcome for outcome in outcomes if outcome.kind in BAD] == []
    refused = sum(outcome.kind == "refused" for outcome in outcomes)
    assert refused == count if not sealed else refused > 0
    assert use(root, sealed=True).kind == "opened"
