"""Passwords and options of the URLs of databases are in no message, no output and no file."""

import json
from pathlib import Path

import pandas as pd
import pytest

from indexing.errors import CommonspaceError, InputError
from indexing.runtime.safe_text import without_secrets
from retrieval import Impressions, Interactions, Profiles
from tests.cli_run import Run, toy_runner
from tests.toy import toy_table

SECRET, OPTION = "s3cret", "731946"
LOST = f"postgresql://ann-of-sales:{SECRET}@127.0.0.1:1/shop?application_name={SECRET}#items"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return toy_runner(capsys, monkeypatch)


@pytest.fixture
def bundle(toy_bundle: Path) -> Path:
    return toy_bundle


COMMANDS = {
    "inspect": ("inspect", LOST),
    "build": ("build", LOST, "--out", "OUT"),
    "add": ("add", "BUNDLE", LOST),
    "update": ("update", "BUNDLE", LOST),
    "fit": ("fit", "BUNDLE", LOST),
    "profiles": ("fit", "BUNDLE", "sample", "--profiles", LOST),
    "impressions": ("fit", "BUNDLE", "sample", "--impressions", LOST),
    "evaluate": ("evaluate", "BUNDLE", LOST),
    "queries": ("evaluate", "BUNDLE", "--queries", LOST),
    "prepare": ("prepare", LOST, "OUT.parquet"),
    "recommend": ("recommend", "BUNDLE", "--interactions", LOST),
    "users": ("recommend", "BUNDLE", "--users", LOST, "--out", "OUT"),
    "out": ("recommend", "BUNDLE", "--history", "red-mug", "--out", LOST),
    "rerank": ("rerank", "BUNDLE", LOST, "--interactions", "sample"),
    "users for": ("users-for", "BUNDLE", "red-mug", "--interactions", LOST),
    "event types": ("recommend", "BUNDLE", "--interactions", "sample", "--event-types", LOST),
    "rules": ("search", "BUNDLE", "mug", "--rules", LOST),
    "settings": ("fit", "BUNDLE", "sample", "--config", LOST),
    "image": ("search", "BUNDLE", "--image", LOST),
    "no bundle": ("info", LOST),
    "no number": ("search", "BUNDLE", "mug", "-k", LOST),
    "saved": ("compare", LOST, LOST),
    "live": ("fit", "BUNDLE", "--events", LOST),
    "live without a table": ("fit", "BUNDLE", "--events", LOST.removesuffix("#items")),
    "variants": ("compare", "--events", LOST.removesuffix("#items")),
    "forget": ("events", "forget", "ann", "--events", LOST.removesuffix("#items")),
    "dump": ("events", "dump", "OUT", "--events", f"postgresql://ann-of-sales:se#{SECRET}@127.0.0.1:1/shop"),
    "open": ("fit", "BUNDLE", f"postgresql://ann-of-sales:se#{SECRET}@127.0.0.1:1/shop#items"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_messages_leave_them_out(case: str, bundle: Path, run: Run, tmp_path: Path) -> None:
    places = {"BUNDLE": str(bundle), "OUT": str(tmp_path / "out"), "OUT.parquet": str(tmp_path / "out.parquet")}
    arguments = [places.get(argument, argument) for argument in COMMANDS[case]]
    code, out, err = run(*arguments)
    assert code in (1, 2), (out, err)
    assert err
    assert SECRET not in out + err
    assert "ann-of-sales" not in out + err


@pytest.mark.parametrize("read", [Interactions.open, Profiles.open, Impressions.open])
def test_a_url_in_a_path_is_named_without_them(read: object) -> None:
    with pytest.raises(InputError, match="URL of a database in a path; give it as text") as error:
        read(Path(LOST))  # type: ignore[operator]
    assert SECRET not in str(error.value)
    with pytest.raises(CommonspaceError) as refused:
        read(LOST)  # type: ignore[operator]
    assert SECRET not in str(refused.value)


def test_outputs_and_files_leave_them_out(tmp_path: Path, run: Run) -> None:
    """SQLite has no password, but options, which stand for it."""
    database = tmp_path / "kept" / "shop.db"
    database.parent.mkdir()
    items = toy_table().drop(["image", "tags"]).to_pandas()
    ids = items["item_id"].tolist()
    log = [(f"u{user}", ids[(3 * user + step) % len(ids)], 100 * step) for user in range(12) for step in range(6)]
    items.to_sql("items", f"sqlite:///{database}", index=False)
    pd.DataFrame(log, columns=["user", "item", "time"]).to_sql("clicks", f"sqlite:///{database}", index=False)
    url, made = f"sqlite:///{database}?timeout={OPTION}", tmp_path / "made"
    made.mkdir()
    printed = []
    commands: list[tuple[object, ...]] = [
        ("inspect", f"{url}#items", "--json"),
        ("build", f"{url}#items", "--out", made / "bundle"),
        ("info", made / "bundle", "--json"),
        ("evaluate", made / "bundle", f"{url}#clicks", "--save", made / "saved.json", "--html", made / "page.html"),
        ("evaluate", made / "bundle", f"{url}#clicks", "--json", "--metrics-out", made / "metrics.json"),
        ("recommend", made / "bundle", "--interactions", f"{url}#clicks", "--out", made / "job", "--json"),
        ("recommend", made / "bundle", "--interactions", f"{url}#clicks", "--out", f"{url}#answers", "--json"),
        ("prepare", f"{url}#clicks", made / "log.parquet", "--report", made / "report.json"),
        ("compare", made / "saved.json", made / "saved.json", "--html", made / "compared.html"),
    ]
    for command in commands:
        code, out, err = run(*command)
        assert code == 0, (command, err)
        printed.append(out + err)
    assert OPTION not in "".join(printed)
    files = [path for path in made.rglob("*") if path.is_file()]
    assert [path.name for path in files if OPTION.encode() in path.read_bytes()] == []
    assert {"saved.json", "page.html", "metrics.json", "compared.html"} <= {path.name for path in files}
    assert f'"sqlite:///{database}#items"' in "".join(path.read_text() for path in made.rglob("manifest.json"))
    assert json.loads((made / "saved.json").read_text())["about"]["asked"] == f"sqlite:///{database}#clicks"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("no sqlite:///a@b/shop.db?key=s3cret#items", "no sqlite:///a@b/shop.db#items"),
        ("'postgresql+psycopg://ann-of-sales:s3@cret@h:5/db?a=s3cret'", "'postgresql+psycopg://h:5/db'"),
        ("postgres://h/db#SELECT * FROM t WHERE m = 'a@b'", "postgres://h/db#SELECT * FROM t WHERE m = 'a@b'"),
        ("https://ann@example.com?q=1", "https://ann@example.com?q=1"),
    ],
)
def test_urls_in_text(text: str, safe: str) -> None:
    assert without_secrets(text) == safe
