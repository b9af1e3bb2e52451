"""The files of scripts/deploy: linters, schemas, and whether they name what the service has. No image is built."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import typer.main
import yaml

from retrieval.cli import app
from retrieval.serving import config
from retrieval.serving.http.security import OPEN_PATHS
from retrieval.serving.observability.traces import FLUSH
from retrieval.serving.server import uvicorn_server
from tests.paths import ROOT

DEPLOY = ROOT / "scripts" / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SYSTEMD = DEPLOY / "systemd"
LEARN = DEPLOY / "learn.sh"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
ADMIN: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.admin.yaml").read_text())["services"]["commonspace"]
RESOURCES: dict[str, list[dict[str, Any]]] = {
    path.stem: list(yaml.safe_load_all(path.read_text())) for path in sorted((DEPLOY / "kubernetes").iterdir())
}
PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
OURS = {config.READ_TOKEN, config.WRITE_TOKEN, "COMMONSPACE_EVENTS"}
BUNDLE = "${COMMONSPACE_BUNDLE:?set it to the folder of the bundle}:/data/bundle"
LEAST_GRACE = uvicorn_server.DRAIN + FLUSH + 5  # seconds
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pod(file: str = "service", kind: str = "Deployment") -> dict[str, Any]:
    (found,) = [one["spec"] for one in RESOURCES[file] if one["kind"] == kind]
    spec: dict[str, Any] = (found["jobTemplate"]["spec"] if kind == "CronJob" else found)["template"]["spec"]
    return spec


def assert_command(arguments: list[str], *, admin: bool = False) -> None:
    """A command line of `commonspace serve` has options that are there."""
    command, bundle, *options = arguments
    assert command == "serve"
    assert bundle.endswith("/bundle")
    known = typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    names = {name for parameter in known for name in parameter.opts}
    assert set(options[::2]) <= names
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert (given["--port"], given["--log-format"]) == ("8080", "json")
    assert given.get("--admin-port") == ("8081" if admin else None)
    assert given.get("--admin-host", "127.0.0.1") == (given["--host"] if admin else "127.0.0.1")


def test_the_image_is_as_hadolint_wants_it() -> None:
    run(str(BIN / "hadolint"), str(DEPLOY / "Dockerfile"))


def test_the_image_has_what_the_packages_are_built_of_and_runs_without_rights() -> None:
    copied = re.findall(r"^COPY (?!--from)(?:--chmod=0755 )?(.*) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = [name for line in copied for name in line.split()]
    kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert wanted == kept
    assert kept == ["pyproject.toml", "README.md", "LICENSE", "indexing", "retrieval", "scripts/deploy/learn.sh"]
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
    assert set(services) == {"commonspace", "learn", "postgres", "prometheus", "grafana"}
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
    assert ours["volumes"][0] == f"{BUNDLE}:ro"


def test_the_composition_learns_only_when_it_is_told_to() -> None:
    ours, learn = COMPOSE["services"]["commonspace"], COMPOSE["services"]["learn"]
    assert learn["profiles"] == ["learn"]
    assert "compose.yaml run --rm learn" in PAGE
    assert_learns(learn["entrypoint"])
    for name in ("COMMONSPACE_EVENTS", "PGPASSWORD"):
        assert learn["environment"][name] == ours["environment"][name]
    for name in ("image", "read_only", "tmpfs", "cap_drop", "security_opt", "depends_on"):
        assert learn[name] == ours[name]
    assert learn["volumes"][0] == BUNDLE
    made = re.findall(r"(/data/\w+)", next(line for line in DOCKERFILE.splitlines() if "install --directory" in line))
    assert {volume.split(":")[1] for volume in learn["volumes"][1:]} == set(made)  # of the user who runs it


def test_the_composition_has_admin_only_when_it_is_asked_for() -> None:
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.admin.yaml"))
    assert "-f scripts/deploy/compose.yaml -f scripts/deploy/compose.admin.yaml up" in PAGE
    assert_command(ADMIN["command"], admin=True)
    assert set(ADMIN["environment"]) == {config.ADMIN_TOKEN}
    assert ADMIN["ports"] == ["127.0.0.1:8081:8081"]
    assert ADMIN["volumes"] == [BUNDLE]  # in place of the one that is read-only, as it has the same path


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


@pytest.mark.parametrize(
    "resource",
    [one for file in RESOURCES.values() for one in file],
    ids=lambda one: f"{one['kind']} {one['metadata']['name']}",
)
def test_resources_of_kubernetes_are_such(resource: dict[str, Any]) -> None:
    for version in ("1.30", "1.35"):
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize(("file", "kind"), [("service", "Deployment"), ("admin", "Deployment"), ("learn", "CronJob")])
def test_pods_run_without_rights_on_what_there_is(file: str, kind: str) -> None:
    spec = pod(file, kind)
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert spec["securityContext"] == pod()["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
    assert security["capabilities"] == {"drop": ["ALL"]}
    secrets = {tuple(one["valueFrom"]["secretKeyRef"].values()) for one in container["env"]}
    created = re.split(r"create secret generic ", PAGE)[1:]
    assert secrets <= {(one.split()[0], key) for one in created for key in re.findall(r"--from-literal=([\w-]+)=", one)}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "bundle"]
    assert mount == {"name": "bundle", "mountPath": "/data/bundle"} | ({"readOnly": True} if file == "service" else {})
    claims = {one["metadata"]["name"] for name in ("service", file) for one in RESOURCES[name]
              if one["kind"] == "PersistentVolumeClaim"}  # fmt: skip
    assert {
        volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume
    } == claims
    labels = {"app.kubernetes.io/name": "commonspace" if file == "service" else f"commonspace-{file}"}
    assert all(one["metadata"]["labels"] == labels for one in RESOURCES[file])
    assert f"kubectl apply -f scripts/deploy/kubernetes/{file}.yaml" in PAGE


@pytest.mark.parametrize("file", ["service", "admin"])
def test_pods_that_serve_are_asked_and_end_in_time(file: str) -> None:
    spec = pod(file)
    (container,) = spec["containers"]
    assert_command(container["args"], admin=file == "admin")
    assert {one["name"] for one in container["env"]} == OURS | ({config.ADMIN_TOKEN} if file == "admin" else set())
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in OPEN_PATHS  # probes have no token
    waiting = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= waiting + LEAST_GRACE
    (service,) = [one for one in RESOURCES[file] if one["kind"] == "Service"]
    assert service["spec"]["selector"] == service["metadata"]["labels"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert [(one["port"], ports[one["targetPort"]]) for one in service["spec"]["ports"]] == (
        [(8080, 8080)] if file == "service" else [(8081, 8081)]
    )


def test_the_cluster_learns_every_night() -> None:
    (cron,) = [one["spec"] for one in RESOURCES["learn"] if one["kind"] == "CronJob"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("0 3 * * *", "Forbid")
    (container,) = pod("learn", "CronJob")["containers"]
    assert_learns(container["command"])
    assert [one["name"] for one in container["env"]] == ["COMMONSPACE_EVENTS"]


def unit(name: str) -> configparser.RawConfigParser:
    found = configparser.RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string((SYSTEMD / name).read_text())
    return found


def test_the_units_of_systemd() -> None:
    service, learn, timer = (unit(f"commonspace{name}") for name in (".service", "-learn.service", "-learn.timer"))
    program, *arguments = service["Service"]["ExecStart"].split()
    assert program == "/opt/commonspace/bin/commonspace"
    assert_command(arguments)
    assert int(service["Service"]["TimeoutStopSec"]) >= LEAST_GRACE
    assert service["Service"]["EnvironmentFile"] == learn["Service"]["EnvironmentFile"]
    assert service["Service"]["EnvironmentFile"] in PAGE
    assert set(re.findall(r"^(COMMONSPACE_\w+)=", PAGE, re.MULTILINE)) == OURS
    assert service["Service"]["ReadOnlyPaths"] == f"-{arguments[1]}"
    hardening = {name: value for name, value in service["Service"].items() if name.startswith(("Protect", "Restrict"))}
    assert len(hardening) > 10
    assert hardening.items() <= dict(learn["Service"]).items()
    assert learn["Service"]["User"] == service["Service"]["User"]
    command, bundle, dumps = learn["Service"]["ExecStart"].split()
    assert_learns([Path(command).name, bundle, dumps])
    assert bundle == arguments[1]
    assert f"install -m 0755 scripts/deploy/learn.sh {command}\n" in PAGE
    assert timer["Timer"]["OnCalendar"] == "*-*-* 03:00:00"
    installed = re.findall(r"scripts/deploy/systemd/([\w.-]+)", PAGE)
    assert sorted(installed) == sorted(path.name for path in SYSTEMD.iterdir())


def test_admin_of_systemd_replaces_what_is_read_only() -> None:
    text = (SYSTEMD / "admin.conf").read_text()
    lines = [line for line in text.split("[Service]\n")[1].splitlines() if line]
    assert lines[:2] == ["ReadOnlyPaths=", "ExecStart="]  # empties the lists before
    program, *arguments = lines[2].removeprefix("ExecStart=").split()
    served = unit("commonspace.service")["Service"]["ExecStart"].split()
    assert (program, arguments[:2]) == (served[0], served[1:3])
    assert_command(arguments, admin=True)
    assert len(lines) == 3
    assert "/etc/systemd/system/commonspace.service.d/admin.conf" in PAGE


def test_systemd_reads_its_units(tmp_path: Path) -> None:
    """Where it is installed."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        return
    for path in SYSTEMD.iterdir():
        text = path.read_text().replace("/opt/commonspace/bin/commonspace ", f"{sys.executable} ")
        made = tmp_path / ("commonspace.service.d/admin.conf" if path.suffix == ".conf" else path.name)
        made.parent.mkdir(exist_ok=True)
        made.write_text(text.replace("/opt/commonspace/bin/commonspace-learn ", f"{sys.executable} "))
    run(analyze, "verify", *(str(path) for path in tmp_path.iterdir() if path.is_file()))


def assert_learns(command: list[str]) -> None:
    """A command line of `commonspace-learn` is as its file wants it."""
    assert command[0] == "commonspace-learn"
    assert f"/{command[0]}\n" in DOCKERFILE
    usage = re.search(rf"{command[0]} (.*)$", LEARN.read_text(), re.MULTILINE)
    assert usage is not None
    assert len(command) - 1 == len(usage.group(1).split()) == 2
    assert command[1].endswith("/bundle")


def test_learning_is_done_in_turn_and_old_dumps_go(tmp_path: Path) -> None:
    """With a program that notes how it is called in place of `commonspace`; the calls are those that it would take."""
    program, calls, dumps = tmp_path / "commonspace", tmp_path / "calls", tmp_path / "my dumps"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{calls}"\n[ "$1 $2" != "${{FAILING:-}}" ]\n')
    program.chmod(0o755)
    for name, days in (("events-old", 32), ("events-new", 28), ("mine", 99)):
        (dumps / name).mkdir(parents=True)
        (dumps / name / "part").write_text("")
        os.utime(dumps / name, (then := time.time() - days * 86_400, then))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(LEARN), "/data/a bundle", str(dumps)]
    failed = subprocess.run(command, env=environment | {"FAILING": "events dump"}, check=False)
    assert failed.returncode == 1
    assert len(calls.read_text().splitlines()) == 1
    assert (dumps / "events-old").is_dir()
    calls.unlink()
    subprocess.run(command, env=environment, check=True)
    dumped, retained, fitted = calls.read_text().splitlines()
    assert re.fullmatch(rf"events dump {dumps}/events-\d{{4}}-\d\d-\d\dT\d{{6}}", dumped)
    assert (retained, fitted) == ("events retain --days 365", "fit /data/a bundle --refresh")
    assert sorted(path.name for path in dumps.iterdir()) == ["events-new", "mine"]
    commands = re.findall(r"^commonspace (.*?)(?:  .*)?$", PAGE.split("## Learn every night")[1], re.MULTILINE)
    assert [re.sub(r'"[^"]*"', "_", one) for one in commands] == [
        re.sub(r'"[^"]*"', "_", one) for one in re.findall(r"^commonspace (.*)$", LEARN.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize(
    "arguments", [("events", "dump", "to"), ("events", "retain", "--days", "365"), ("fit", "bundle", "--refresh")]
)
def test_what_is_called_to_learn_is_there(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The events come by the environment alone."""
    monkeypatch.setenv("COMMONSPACE_EVENTS", "sqlite:///events.db")
    command, left = typer.main.get_command(app), list(arguments)
    while isinstance(command, click.Group):
        command = command.commands[left.pop(0)]
    assert command.make_context("commonspace", left).params


def test_no_file_has_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"(?i)(password|token)[\"']?[ \t]*[:=][ \t]*[\"']?[a-z0-9]{8,}", path.read_text()), (
                path
            )
