"""The files of scripts/deploy: linters, schemas, and whether they name what the service has. No image is built."""

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import typer.main
import yaml
from starlette.testclient import TestClient

from retrieval.cli import app
from retrieval.serving import ServiceConfig, config, create_app, server
from retrieval.serving.http.security import OPEN_PATHS
from retrieval.serving.observability.traces import FLUSH
from tests.paths import ROOT
from tests.toy import ToyEncoder

DEPLOY = ROOT / "scripts" / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
DOCKERFILE, UNIT = ((DEPLOY / name).read_text() for name in ("Dockerfile", "commonspace.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "commonspace.json").read_text())
OURS = {config.READ_TOKEN, config.WRITE_TOKEN, "COMMONSPACE_EVENTS"}
LEAST_GRACE = server.DRAIN + FLUSH + 5  # seconds
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pod() -> dict[str, Any]:
    (deployment,) = [one for one in RESOURCES if one["kind"] == "Deployment"]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def assert_command(arguments: list[str]) -> None:
    """A command line of `commonspace serve` has options that are there."""
    command, bundle, *options = arguments
    assert command == "serve"
    assert bundle.endswith("/bundle")
    known = typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    names = {name for parameter in known for name in parameter.opts}
    assert set(options[::2]) <= names
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert (given["--port"], given["--log-format"]) == ("8080", "json")


def test_the_image_is_as_hadolint_wants_it() -> None:
    run(str(BIN / "hadolint"), str(DEPLOY / "Dockerfile"))


def test_the_image_has_what_the_packages_are_built_of_and_runs_without_rights() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = [name for line in copied for name in line.split()]
    kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert wanted == kept == ["pyproject.toml", "README.md", "LICENSE", "indexing", "retrieval"]
    assert all((ROOT / name).exists() for name in wanted)
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) == pod()["securityContext"]["runAsUser"] > 0
    (arguments,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert_command(json.loads(arguments))
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    declared = re.findall(
        r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().split("optional-dependencies]")[1], re.MULTILINE
    )
    assert set(extras.split(",")) <= set(declared)
    (probe,) = re.findall(r"http://127.0.0.1:8080(/\w+)", DOCKERFILE)
    assert probe in OPEN_PATHS


def test_the_composition_is_one() -> None:
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))
    services = COMPOSE["services"]
    assert set(services) == {"commonspace", "postgres", "prometheus", "grafana"}
    for service in services.values():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        for volume in service["volumes"]:
            source = re.sub(r"^\$\{\w+:\?[^}]*\}", "", volume).split(":")[0]
            assert source == "" or source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    ours = services["commonspace"]
    assert {name for name in ours["environment"] if name.startswith("COMMONSPACE")} == OURS
    assert ours["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "${OTEL_EXPORTER_OTLP_ENDPOINT:-}"  # empty is off
    assert (ours["read_only"], ours["cap_drop"]) == (True, ["ALL"])
    assert int(ours["stop_grace_period"].removesuffix("s")) >= LEAST_GRACE
    assert (DEPLOY / ours["build"]["context"] / ours["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_variables_of_the_composition_are_on_the_page() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text)) | set(re.findall(r"environment: (\w+)$", text, re.MULTILINE))
    exported = set(re.findall(r"(\w+)=\$", PAGE.split("## With Compose")[1].split("## On Kubernetes")[0]))
    assert needed == exported


def test_prometheus_asks_the_service_with_its_token() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    (target,) = job["static_configs"]
    assert target["targets"] == ["commonspace:8080"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/read_token"}
    assert "read_token" in COMPOSE["services"]["prometheus"]["secrets"]
    assert COMPOSE["secrets"]["read_token"] == {"environment": config.READ_TOKEN}


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((folder / "dashboards" / "commonspace.yaml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda one: str(one["kind"]))
def test_resources_of_kubernetes_are_such(resource: dict[str, Any]) -> None:
    for version in ("1.30", "1.35"):
        kubernetes_validate.validate(resource, version, strict=True)


def test_pods_run_without_rights_and_end_in_time() -> None:
    spec = pod()
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert_command(container["args"])
    assert {one["name"] for one in container["env"]} == OURS
    keys = {one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"]}
    assert keys == set(re.findall(r"--from-literal=([\w-]+)=", PAGE))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in OPEN_PATHS  # probes have no token
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    waiting = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= waiting + LEAST_GRACE
    labels = {"app.kubernetes.io/name": "commonspace"}
    assert all(one["metadata"]["labels"] == labels for one in RESOURCES)
    assert [one["spec"]["selector"] for one in RESOURCES if one["kind"] == "Service"] == [labels]
    claims = {one["metadata"]["name"] for one in RESOURCES if one["kind"] == "PersistentVolumeClaim"}
    assert {
        volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume
    } == claims


def test_the_unit_of_systemd(tmp_path: Path) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT)
    service = unit["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program == "/opt/commonspace/bin/commonspace"
    assert_command(arguments)
    assert int(service["TimeoutStopSec"]) >= LEAST_GRACE
    assert service["EnvironmentFile"] in PAGE
    assert set(re.findall(r"^(COMMONSPACE_\w+)=", PAGE, re.MULTILINE)) == OURS
    if (analyze := shutil.which("systemd-analyze")) is not None:
        made = tmp_path / "commonspace.service"
        made.write_text(UNIT.replace(program, sys.executable))
        run(analyze, "verify", str(made))


def test_no_file_has_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"(?i)(password|token)[\"']?[ \t]*[:=][ \t]*[\"']?[a-z0-9]{8,}", path.read_text()), (
                path
            )


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
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {"job", "instance"}).update(sample.labels)
    return found


def test_expressions_name_metrics_and_labels_that_there_are(exported: dict[str, set[str]]) -> None:
    shown = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    alarms = [
        one.replace("\\|", "|") for one in re.findall(r"^\| `(.*?)` \|", PAGE.split("deserves an")[1], re.MULTILINE)
    ]
    assert len(shown) > 20
    assert len(alarms) == 5
    named = set()
    for expression in (*shown, *alarms):
        found = parsed(expression)
        assert found, expression
        for name, labels in found:
            assert labels <= exported[name], expression
            named.add(name)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("commonspace_")}
    assert ours <= families  # nothing is measured that the dashboard does not show


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
