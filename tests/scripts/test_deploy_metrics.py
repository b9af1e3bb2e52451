"""The dashboard and the alarms of scripts/deploy: whether they name metrics and labels that a service exports."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from starlette.routing import Route
from starlette.testclient import TestClient

from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.app import ROUTERS
from retrieval.serving.engine.metering import REASONS, Problem
from tests.paths import ROOT
from tests.toy import ToyEncoder

DEPLOY = ROOT / "scripts" / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "commonspace.json").read_text())
ADDED = {"job", "instance"}  # by Prometheus


def selectors(node: Any) -> list[tuple[str, set[str]]]:  # noqa: ANN401 - a node of the parser
    """The metrics of an expression, each with the labels that it is selected by or grouped by around it."""
    match type(node).__name__:
        case "VectorSelector":
            return [(node.name, {matcher.name for matcher in node.matchers.matchers})]
        case "MatrixSelector":
            return selectors(node.vector_selector)
        case "AggregateExpr":
            labels = set(node.modifier.labels) if node.modifier else set()
            return [(name, kept | labels) for name, kept in selectors(node.expr)]
        case "BinaryExpr":
            return [*selectors(node.lhs), *selectors(node.rhs)]
        case "Call":
            return [found for one in node.args for found in selectors(one)]
        case "NumberLiteral":
            return []
        case "ParenExpr" | "UnaryExpr":
            return selectors(node.expr)
    raise AssertionError(f"an expression has {type(node).__name__}")


def parsed(expression: str) -> list[tuple[str, set[str]]]:
    for name, value in (("$__rate_interval", "5m"), ("$job", ".*"), ("$instance", ".*")):
        expression = expression.replace(name, value)
    return selectors(promql_parser.parse(expression))


@pytest.fixture(scope="module")
def exported(toy_bundle: Path) -> dict[str, set[str]]:
    """The labels of every metric that a service has once it was asked; those that Prometheus adds with them."""
    from prometheus_client.parser import text_string_to_metric_families

    with TestClient(create_app(ServiceConfig(toy_bundle), encoder=ToyEncoder()), "http://127.0.0.1") as client:
        client.post("/search", json={"texts": ["red"]})
        text = client.get("/metrics").text
    found = {"up": ADDED}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set(ADDED)).update(sample.labels)
    return found


def assert_exported(expression: str, exported: dict[str, set[str]]) -> set[str]:
    """Check the metrics and labels of an expression, and give its families of metrics."""
    found = parsed(expression)
    assert found, expression
    for name, labels in found:
        assert labels <= exported[name], expression
    return {family(name) for name, _ in found}


def family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_the_dashboard_shows_what_is_exported_and_all_of_it(exported: dict[str, set[str]]) -> None:
    shown = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    assert len(shown) > 20
    named = {name for expression in shown for name in assert_exported(expression, exported)}
    assert {family(name) for name in exported if name.startswith("commonspace_")} <= named


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alarms_are_of_what_is_exported(rule: dict[str, Any], exported: dict[str, set[str]]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary"}
    assert_exported(rule["expr"], exported)
    grouped = re.findall(r"by \(([\w, ]+)\)", rule["expr"])
    kept = {label.strip() for group in grouped for label in group.split(",")} if grouped else ADDED
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= kept


def test_values_that_alarms_wait_for_are_values_of_labels() -> None:
    values: dict[str, set[str]] = {
        "reason": {*REASONS, *get_args(Problem)},
        "job": {job["job_name"] for job in PROMETHEUS["scrape_configs"]},
        "status": {"500"},
        "route": {route.path_format for router in ROUTERS for route in router.routes if isinstance(route, Route)},
    }
    for rule in RULES:
        for label, sign, value in re.findall(r'(\w+)(!?=~?)"([^"]*)"', rule["expr"]):
            for one in value.split("|") if "~" in sign else [value]:
                assert any(re.fullmatch(one, known) for known in values[label]), (rule["alert"], label, one)


def test_prometheus_reads_the_alarms_and_the_page_lists_them() -> None:
    assert PROMETHEUS["rule_files"] == [ALERTS.name]
    assert "./prometheus:/etc/prometheus:ro" in COMPOSE["services"]["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in COMPOSE["services"]["prometheus"]["command"]
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) >= 10
    assert re.findall(r"^\| `(Commonspace\w+)` \|", PAGE, re.MULTILINE) == names


HEALTHY = {
    'up{job="commonspace", instance="a"}': "1x60",
    'commonspace_generation_info{instance="a", generation="gen-1"}': "1x60",
    'commonspace_request_seconds_count{instance="a", route="/search", status="200"}': "0+600x60",
    'commonspace_request_seconds_bucket{instance="a", route="/search", status="200", le="0.1"}': "0+600x60",
    'commonspace_request_seconds_bucket{instance="a", route="/search", status="200", le="2.5"}': "0+600x60",
    'commonspace_request_seconds_bucket{instance="a", route="/search", status="200", le="+Inf"}': "0+600x60",
    'commonspace_rejected_total{instance="a", reason="queue_full"}': "0+6x60",
    'commonspace_rejected_total{instance="a", reason="access"}': "0+300x60",  # not for lack of capacity
    'commonspace_degraded{instance="a", reason="recall"}': "0x60",
    'commonspace_degraded{instance="a", reason="bundle"}': "0x60",
    'commonspace_event_log_errors_total{instance="a"}': "0x60",
    'commonspace_event_lag_seconds_bucket{instance="a", le="1.0"}': "0+60x60",
    'commonspace_event_lag_seconds_bucket{instance="a", le="600.0"}': "0+60x60",
    'commonspace_event_lag_seconds_bucket{instance="a", le="+Inf"}': "0+60x60",
    'commonspace_events_total{instance="a", type="view"}': "0+60x60",
    'commonspace_learned_until_timestamp_seconds{instance="a"}': "-90000x60",  # a day before the clock of the test
    'commonspace_learned_until_timestamp_seconds{instance="b"}': "0x60",  # nothing was learned
}
NO_FAULT: dict[str, dict[str, str]] = {"": {}}
FAULTS: dict[str, dict[str, str]] = {
    "CommonspaceDown": {'up{job="commonspace", instance="a"}': "0x60"},
    "CommonspaceAbsent": {'commonspace_generation_info{instance="a", generation="gen-1"}': "_x60"},
    "CommonspaceFaults": {'commonspace_request_seconds_count{instance="a", route="/search", status="500"}': "0+1x60"},
    "CommonspaceEventsNotWritten": {'commonspace_event_log_errors_total{instance="a"}': "0+1x60"},
    "CommonspaceRecallBelowPromise": {'commonspace_degraded{instance="a", reason="recall"}': "1x60"},
    "CommonspaceDegraded": {'commonspace_degraded{instance="a", reason="bundle"}': "1x60"},
    "CommonspaceRefuses": {'commonspace_rejected_total{instance="a", reason="queue_full"}': "0+60x60"},
    "CommonspaceSlow": {
        'commonspace_request_seconds_bucket{instance="a", route="/search", status="200", le="0.1"}': "0+590x60"
    },
    "CommonspaceEventLag": {'commonspace_event_lag_seconds_bucket{instance="a", le="1.0"}': "0+50x60"},
    "CommonspaceLearnsNothing": {'commonspace_learned_until_timestamp_seconds{instance="a"}': "-180000x60"},
}


def test_each_alarm_rises_by_its_fault_alone(tmp_path: Path) -> None:
    """Where promtool of Prometheus is installed, which evaluates the rules."""
    assert list(FAULTS) == [rule["alert"] for rule in RULES]
    if (promtool := shutil.which("promtool")) is None:
        return
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    tests = []
    for name, series in (NO_FAULT | FAULTS).items():
        values = [{"series": one, "values": value} for one, value in (HEALTHY | series).items()]
        wanted = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if name else []
        expected = [{"expr": firing, "eval_time": "50m", "exp_samples": wanted}]
        tests.append({"interval": "1m", "input_series": values, "promql_expr_test": expected})
    made = tmp_path / "tests.yml"
    made.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    for command in (("check", "rules", str(ALERTS)), ("test", "rules", str(made))):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_metric_that_is_not_exported_is_found(exported: dict[str, set[str]]) -> None:
    ((name, labels),) = parsed(
        'histogram_quantile(0.9, sum by (le, user) (rate(commonspace_request_seconds_bucket{job=~"$job"}[5m])))'
    )
    assert (name, labels) == ("commonspace_request_seconds_bucket", {"le", "user", "job"})
    assert not labels <= exported[name]
    assert parsed("commonspace_nothing * 2") == [("commonspace_nothing", set())]


def test_the_dashboard_is_whole() -> None:
    panels = BOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"}
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert 'job=~"$job",instance=~"$instance"' in target["expr"]
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            assert shown <= ({"instance"} | {label.strip() for group in grouped for label in group.split(",")})
    boxes = [panel["gridPos"] for panel in panels]
    places = [
        (x, y) for at in boxes for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
