"""Write the types of the TypeScript client anew, from the OpenAPI of the service.

    python -m scripts.typescript_client

It needs Node and the npm registry, and runs openapi-typescript of the version below. The file begins with a hash of
what it was made of; a test compares it, and fails when routes or fields have changed since.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from retrieval.serving.app import ROUTERS, TITLE
from retrieval.serving.http.openapi import with_whole_examples

GENERATOR = "openapi-typescript@7.13.0"
ERROR = "#/components/schemas/ErrorBody"
FILE = Path(__file__).parent.parent / "docs" / "clients" / "typescript" / "schema.d.ts"
HEADER = "// Made by `python -m scripts.typescript_client` of the OpenAPI with sha256 {}. Not to be edited.\n"


def description() -> dict[str, Any]:
    """Give the paths and schemas of the OpenAPI of the service, which hang on no bundle."""
    app = FastAPI(title=TITLE)
    for router in ROUTERS:
        app.include_router(router)
    with_whole_examples(app)
    return {name: value for name, value in app.openapi().items() if name in ("openapi", "paths", "components")}


def fingerprint(described: dict[str, Any]) -> str:
    """Give the sha256 of paths and schemas, in canonical JSON."""
    parts = {name: described[name] for name in ("paths", "components")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def shorter(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """Leave out titles, which say the names again, and give all errors of an operation once, as its default answer."""
    if isinstance(node, list):
        return [shorter(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {name: shorter(value) for name, value in node.items() if not (name == "title" and isinstance(value, str))}
    if isinstance(answers := found.get("responses"), dict):
        errors = {status: one for status, one in answers.items() if ERROR in json.dumps(one)}
        if errors:
            one = {"description": "Why it was not answered.", "content": next(iter(errors.values()))["content"]}
            found["responses"] = {status: other for status, other in answers.items() if status not in errors}
            found["responses"]["default"] = one
    return found


def generated(described: dict[str, Any]) -> str:
    """Run the generator."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "openapi.json"), Path(folder, "schema.d.ts")
        source.write_text(json.dumps({**shorter(described), "info": {"title": TITLE, "version": "0"}}))
        command = ["npx", "--yes", GENERATOR, str(source), "--output", str(target), "--default-non-nullable", "false"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return target.read_text()


def main() -> None:
    """Write the file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    described = description()
    FILE.write_text(HEADER.format(fingerprint(described)) + generated(described))
    print(FILE)


if __name__ == "__main__":
    main()
