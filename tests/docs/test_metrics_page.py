"""What docs/reference/metrics.md says of metrics, logs and spans."""

import json
import re
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

from retrieval.candidates import SOURCES
from retrieval.serving.engine.admission import Kind
from retrieval.serving.engine.metering import REASONS, Problem
from retrieval.serving.engine.stages import STAGES
from retrieval.serving.observability.logs import FIELDS, PROBES
from retrieval.serving.observability.metrics import IMPERSONAL, MOST_OWN_TYPES, Metrics
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()


def cells(name: str) -> list[str]:
    """The cells of the row of a table that begins with a name."""
    (row,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([\w/]+)`", cell))


def test_metrics_are_those_that_are_exported() -> None:
    metrics = Metrics()
    metrics.serving("gen-1", 1, {"text": 1.0}, dict.fromkeys(get_args(Problem), False), 0.0)
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name.startswith("commonspace_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            kept = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[f"`{name}`"] = family.type, kept
    del found["`commonspace_request_seconds`"]  # has no samples without requests
    assert {name: (cells(name)[0], names(cells(name)[1])) for name in found} == found
    assert cells("`commonspace_request_seconds`")[:2] == ["histogram", "`route`, `status`"]
    assert len(re.findall(r"^\| `commonspace_", PAGE, re.MULTILINE)) == len(found) + 1


def test_labels_are_those_of_the_code() -> None:
    assert names(cells("`stage`")[0]) == set(STAGES)
    assert names(cells("`kind` of a queue")[0]) == set(get_args(Kind))
    assert names(cells("`reason` of refusals")[0]) == set(REASONS)
    assert names(cells("`reason` of `commonspace_degraded`")[0]) == set(get_args(Problem))
    assert names(cells("`source`")[0]) == set(IMPERSONAL) <= set(SOURCES)
    assert f"first {MOST_OWN_TYPES} of a table" in cells("`type`")[0]


def test_fields_of_the_log_are_those_of_the_code() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    table = PAGE.split("| field | is |")[1].split("\n\n")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in names(row)}
    assert set(json.loads(example)) <= named
    assert set(FIELDS) <= named
    assert all(f"`{probe}`" in PAGE for probe in PROBES)
