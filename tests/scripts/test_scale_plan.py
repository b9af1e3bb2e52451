"""The arithmetic of the plan for large catalogues, and that its page is as the results have it."""

from dataclasses import replace
from typing import Any

import pytest

from indexing.index.backends.build_sharded import Plan
from scripts.benchmarks.readme_table import updated
from scripts.research.scale_plan import PAGE, Assumed, Measured, break_even, planned, shown, tables
from tests.test_figures import result

MEASURED = Measured(
    index_bytes=1_200,
    code_bytes=100,
    build_ms=0.1,
    lists=641,
    factor=0.01,
    exponent=0.5,
    batch_factor=0.001,
    batch_exponent=0.5,
    images=10,
    texts=100,
)


def test_the_page_is_as_the_results_and_assumptions() -> None:
    page = PAGE.read_text()
    assert updated(page, tables(Measured.read(), Assumed())) == page, "python -m scripts.research.scale_plan"


def test_what_the_page_says_of_the_plan_holds() -> None:
    small, large = (planned(items, Measured.read(), Assumed()) for items in (10**7, 10**9))
    hours = ("processor hours to encode pictures", "processor hours to build the index")
    assert 100 < large[hours[0]] / large[hours[1]] < 1_000, "hundreds of times the building of the index"
    assert (large["index in memory: machines"], large["codes in memory: machines"]) == (5, 1)
    assert small[hours[0]] / 2 > 24, "two cores encode pictures for more than a day"


def test_it_agrees_with_the_largest_that_was_measured() -> None:
    (measured,) = result("sharded_10m")["sizes"]
    plan = planned(measured["items"], Measured.read(), replace(Assumed(), dim=512))
    assert plan["of these the index"] == pytest.approx(measured["items"] * measured["bytes a vector"] / 1e9)
    # It has fewer and larger shards than were measured; the power law passes within a third of each point.
    ms = Measured.read().factor * (measured["items"] / measured["shards"]) ** Measured.read().exponent
    assert ms * measured["shards"] == pytest.approx(measured["ms a query"], rel=0.35)


def test_bytes_hours_and_dollars_are_products() -> None:
    plan = planned(36_000_000, MEASURED, replace(Assumed(), vcpu_hour=0.05, object_month=0.02))
    assert plan["of these the index"] == pytest.approx(43.2)
    assert plan["GB of a bundle on disk"] == pytest.approx(43.2 + 2 * 36 * 1.024 + 3.6)
    assert plan["processor hours to encode pictures"] == pytest.approx(1_000)
    assert plan["the same in dollars"] == pytest.approx(50)
    assert plan["processor hours to encode short texts"] == pytest.approx(100)
    assert plan["processor hours to build the index"] == pytest.approx(1 * 2_564 / 641)
    assert plan["dollars a month to keep the bundle in object storage"] == pytest.approx((43.2 + 73.728 + 3.6) * 0.02)


def test_machines_are_whole_and_search_side_by_side() -> None:
    shard = Plan.within(64 * 2**30, 512).shard
    assumed = replace(Assumed(), vcpus=2, vcpu_gib=1, usable=1.0, vcpu_hour=1.0, disk_month=0.1)
    # A shard fills the memory of two processors with its vectors, and that of one with its codes.
    plan = planned(4 * shard, replace(MEASURED, index_bytes=2**31 / shard, code_bytes=2**30 / shard), assumed)
    alone = shard**0.5
    assert plan["shards, built within 64G"] == 4
    assert plan["ms a query, one core, all in memory"] == pytest.approx(4 * 0.01 * alone)
    assert (plan["index in memory: vCPUs"], plan["index in memory: machines"]) == (8, 4)
    assert (plan["codes in memory: vCPUs"], plan["codes in memory: machines"]) == (4, 2)
    assert plan["index in memory: ms a query, machines side by side"] == pytest.approx(0.01 * alone)
    assert plan["index in memory: queries a second at most"] == pytest.approx(8 * 1000 / (4 * 0.001 * alone))
    assert plan["codes in memory: ms of cold reads a query"] == pytest.approx(2 * 100 * 0.1)
    assert plan["index in memory: dollars a month"] == pytest.approx(8 * 730)
    assert plan["codes in memory: dollars a month, with SSD"] == pytest.approx(4 * 730 + 4 * 2**31 / 1e9 * 0.1)


def test_the_smallest_machine_has_two_processors() -> None:
    assert planned(1_000, MEASURED, Assumed())["index in memory: vCPUs"] == 2


def test_a_gpu_pays_from_its_price_on() -> None:
    assert break_even(MEASURED, replace(Assumed(), vcpu_hour=0.1, gpu_hour=2.0)) == pytest.approx(200)
    assert f"about {round(break_even(Measured.read(), Assumed()), -1):.0f} pictures a second" in PAGE.read_text()


@pytest.mark.parametrize(("value", "text"), [(0.0408, "0.0408"), (1204.6, "1,200"), (64, "64"), (9.999, "10.0")])
def test_numbers_have_three_digits_that_count(value: Any, text: str) -> None:  # noqa: ANN401
    assert shown(value) == text
