"""Rows of the README's table come from results alone; what was not measured through the public verbs has none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks import readme_table
from scripts.benchmarks.readme_table import RESULTS, Source, films, index_peers, number, recommended, table


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("music", "two_stage_by_user", "encode"):
        shutil.copy(RESULTS / f"{name}.json", tmp_path)
    return tmp_path


def changed(path: Path, *keys: str, value: object) -> None:
    record = json.loads(path.read_text())
    inner: dict[str, Any] = record["result"]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(record))


def test_results_that_are_not_there_have_no_row(results: Path) -> None:
    assert [line.split(" | ")[0] for line in table(results).splitlines()[2:]] == [
        "| recommend",
        "| recommend, music",
        "| encode images",
        "| encode short texts",
        "| encode long texts",
    ]


def test_a_row_has_the_numbers_of_its_result(results: Path) -> None:
    changed(results / "music.json", "table", "two stages", "ndcg@20", value=[0.5004, 0.4, 0.6])
    changed(results / "music.json", "table", "two stages", "ndcg@20, times it", value=[0.9876, 0.98, 0.99])
    changed(results / "music.json", "table", "two stages", "best baseline", value="EASE")
    (row,) = [line for line in table(results).splitlines() if "music" in line]
    assert "| ndcg@20 | 0.500 | EASE 0.420 | 0.988 [0.980, 0.990] times |" in row


def test_lists_that_fit_did_not_make_have_no_row(results: Path) -> None:
    assert "MovieLens" in table(results)
    path = results / "two_stage_by_user.json"
    record = json.loads(path.read_text())
    del record["result"]["lists by commits"]
    path.write_text(json.dumps(record))
    assert "MovieLens" not in table(results)
    assert len(films(results).splitlines()) == 2


def test_results_to_come_have_rows(results: Path) -> None:
    ndcg, more = {"ndcg@20": [0.25, 0.24, 0.26]}, {"above the row before": [-0.01, -0.02, 0.001]}
    ways = {"users": 942, "two stages": ndcg, "two stages, with profiles": {"ndcg@20": [0.24, 0.2, 0.3]} | more}
    result = {"left out": {"after 0": ways}, "lists by commits": ["x"]}
    (results / "new_users.json").write_text(json.dumps({"result": result}))
    row = {"least, texts, change": [0.164, 0.148, 0.18], "ndcg@20, change": [-0.0104, -0.02, 0.003]}
    result = {"test": {"MMR of texts, centred": row}, "lists by commits": ["x"]}
    (results / "diversity.json").write_text(json.dumps({"result": result}))
    shutil.copy(results / "two_stage_by_user.json", results / "two_stage_unseen.json")
    rows = table(results)
    assert rows.count("| 0.240 | without profiles 0.250 | −0.010 [−0.020, 0.001] |") == 1  # noqa: RUF001
    assert "for −1.0 % ndcg@20 | 16.4 % more | by relevance alone | [14.8, 18.0] %" in rows  # noqa: RUF001
    assert "| recommend new items | MovieLens 100k, items nobody has seen, 829 users, 3 seeds |" in rows
    assert "items nobody has seen, all, 829 | 3 |" in films(results)


def test_tuned_indexes_are_ordered_by_speed_and_what_is_missing_says_why(tmp_path: Path) -> None:
    def found(speed: int, reaches: bool = True) -> dict[str, Any]:
        measured = {"recall": 0.9512, "queries/s": speed, "ms a query by itself, p50": 0.126}
        return measured | {"reaches the goal on held-out queries": reaches}

    costs = {"bytes a vector": 2048, "build seconds": 1.5, "MiB at most": 1300}
    slow = {"text": found(80), "image": found(900), "note": "M 16", **costs}
    fast = {"text": found(4321), "image": found(90, reaches=False), "note": "", **costs}
    rows = {"slow": slow, "none": {"not measured": "a | b"}, "fast": fast}
    assert index_peers(tmp_path) == "No run is kept yet."
    (tmp_path / "tuned_peers.json").write_text(json.dumps({"result": {"sizes": {"20000": {"peers": rows}}}}))
    assert index_peers(tmp_path).splitlines()[2:] == [
        "| 20,000 | fast | 0.951 | 4,320 | 0.13 | 0.951 | 90 | 0.13 | 2,048 | 1.5 | 1,300 | "
        "pictures miss the goal on queries that tuned |",
        "| 20,000 | slow | 0.951 | 80 | 0.13 | 0.951 | 900 | 0.13 | 2,048 | 1.5 | 1,300 | M 16 |",
        "| 20,000 | none |  |  |  |  |  |  |  |  |  | not measured: a / b |",
    ]


def test_the_search_row_names_the_best_of_other_libraries(results: Path) -> None:
    def row(speed: int) -> dict[str, Any]:
        return {"note": f"{speed}"} | {kind: {"queries/s": speed, "recall": 0.9512} for kind in ("text", "image")}

    best = {kind: {"best peer": {"name": "other"}} for kind in ("text", "image")}
    size: dict[str, Any] = {"dim": 512, "compared": best, "peers": {"other": row(87)}}
    size["peers"] |= {"Commonspace auto": row(4321), "Commonspace ivf": row(6000)}
    (results / "tuned_peers.json").write_text(json.dumps({"result": {"target": 0.95, "sizes": {"20000": size}}}))
    lines = [line for line in table(results).splitlines() if line.startswith("| search")]
    assert [line.split(" | ")[2:5] for line in lines] == [
        [f"{queries} a second (recall@10, goal 0.95)", "4,320 (0.951), `ivf` 6,000 (0.951)", "other 87 (0.951)"]
        for queries in ("texts", "pictures")
    ]


def test_a_result_of_another_shape_is_an_error(results: Path) -> None:
    changed(results / "two_stage_by_user.json", "two stages", value={})
    with pytest.raises(KeyError, match="all"):
        table(results)


def test_commands_name_a_script_wherever_it_is() -> None:
    source = Source("music", recommended("a", "b"), "music", "--seeds 0")
    assert source.command().startswith("[`music --seeds 0`](scripts/benchmarks/")
    with pytest.raises(ValueError, match="not enough values"):
        Source("music", recommended("a", "b"), "no_such_script").command()


@pytest.mark.parametrize(
    ("value", "places", "written"),
    [(0.1715, 3, "0.172"), (-0.0005, 3, "−0.001"), (7321, 0, "7,320"), (82.6, 0, "83"), (1999.9, 1, "2,000")],  # noqa: RUF001
)
def test_numbers(value: float, places: int, written: str) -> None:
    assert number(value, places) == written


def test_check_writes_nothing_and_fails_where_a_page_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme_table.BEGIN}\nold\n{readme_table.END}\nafter\n")
    monkeypatch.setattr(readme_table, "ROOT", tmp_path)
    monkeypatch.setattr(readme_table, "PAGES", {"README.md": lambda results: "| new |"})
    monkeypatch.setattr(readme_table, "SOURCES", ())
    monkeypatch.setattr("sys.argv", ["readme_table", "--check"])
    with pytest.raises(SystemExit, match=r"README\.md: not as in the results"):
        readme_table.main()
    assert "old" in page.read_text()
    monkeypatch.setattr("sys.argv", ["readme_table"])
    readme_table.main()
    assert page.read_text() == f"before\n{readme_table.BEGIN}\n| new |\n{readme_table.END}\nafter\n"
    monkeypatch.setattr("sys.argv", ["readme_table", "--check"])
    readme_table.main()
