"""What docs/how-to/object_storage.md shows runs: its Python, and its patch of the pods on Kubernetes."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml

from retrieval.cli import app
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "object_storage.md").read_text()


def test_examples_run_and_print_what_the_page_says(
    own_toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home := tmp_path / "home").mkdir()
    monkeypatch.chdir(home)
    Path("bundles").mkdir()
    own_toy_bundle.rename("bundles/shop")
    examples = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    for example, printed in examples:
        exec(compile(example, "object_storage.md", "exec"), {})  # noqa: S102 - the page is ours
        assert capsys.readouterr().out == printed


def merged(whole: Any, patch: Any) -> Any:  # noqa: ANN401 - JSON values
    """Merge a patch as `kubectl patch` does by default: objects by key, lists of named objects by name."""
    if isinstance(patch, dict):
        whole = whole or {}
        values = {key: merged(whole.get(key), patch[key]) if key in patch else whole[key] for key in {**whole, **patch}}
        return {key: value for key, value in values.items() if value is not None}
    if isinstance(patch, list) and patch and isinstance(patch[0], dict):
        named = {entry["name"]: entry for entry in whole or []}
        return list({**named, **{entry["name"]: merged(named.get(entry["name"]), entry) for entry in patch}}.values())
    return patch


def test_the_pods_that_pull_are_such() -> None:
    (patch,) = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    resources = yaml.safe_load_all((ROOT / "scripts" / "deploy" / "kubernetes" / "service.yaml").read_text())
    (deployment,) = [resource for resource in resources if resource["kind"] == "Deployment"]
    pods = merged(deployment, patch)
    for version in ("1.30", "1.35"):
        kubernetes_validate.validate(pods, version, strict=True)
    spec = pods["spec"]["template"]["spec"]
    (bundle,) = [volume for volume in spec["volumes"] if volume["name"] == "bundle"]
    assert bundle.keys() == {"name", "emptyDir"}
    assert spec["initContainers"][1]["restartPolicy"] == "Always"  # it runs beside the service
    (served,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "bundle"]
    known = typer.main.get_command(app).commands["pull"].params  # type: ignore[attr-defined]
    for container in spec["initContainers"]:
        command, place, folder, *options = container["args"]
        assert (command, place, folder) == ("pull", "s3://bucket/shop", served["mountPath"])
        assert {word for word in options if word.startswith("-")} <= {name for param in known for name in param.opts}
        assert container["volumeMounts"] == [{"name": "bundle", "mountPath": folder}]
        assert container["securityContext"] == spec["containers"][0]["securityContext"]
