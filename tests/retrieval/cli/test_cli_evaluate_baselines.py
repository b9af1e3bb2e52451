"""`commonspace evaluate` beside baselines, cut by user and in time, with and without users who have a history."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.candidates import Candidates
from retrieval.cli.options.held_out import SplitBy, SplitOptions
from retrieval.cli.options.log import LogColumns
from retrieval.evaluation import against_baselines
from retrieval.evaluation.splits.splits import at_time, by_user
from retrieval.fitting.fit_config import FitConfig
from retrieval.interactions.interactions import Interactions
from tests.cli_run import Run, runner
from tests.retrieval.evaluation.shop import THINGS, Shop
from tests.toy import COLOURS, ToyEncoder

START = 1_700_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 users go through things of their colour; the last ten begin late, and four of these later still."""
    rows = [
        {
            "user_id": f"user {user:02}",
            "item_id": f"{list(COLOURS)[user % 4]}-{(user + 3 * step) % THINGS}",
            "timestamp": START + 1000 * (step + 8 * (user >= 30) + 4 * (user >= 36)) + user,
        }
        for user in range(40)
        for step in range(10)
    ]
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())
    monkeypatch.setenv("COLUMNS", "160")
    return runner(capsys)


def test_the_first_line_says_whether_it_is_good(shop: Shop, log: Path, run: Run, tmp_path: Path) -> None:
    bundle = shop.retriever.bundle.root
    code, out, _ = run("evaluate", bundle, log, "--hold-out", 0.2, "--html", tmp_path / "r.html")
    assert code == 0
    split = by_user(Interactions.open(log), 0.2)
    users = sorted(set(split.past.table["user_id"].to_pylist()))
    rows = split.future.table.to_pylist()
    relevant = [[row["item_id"] for row in rows if row["user_id"] == user] for user in users]
    found = shop.retriever.recommend(split.past, 200, user_ids=users)
    expected = against_baselines(found, relevant, split.past, content=shop.retriever.vectors)
    assert out.splitlines()[0] == str(expected)
    assert out.splitlines()[1] == "to be found: the last 20% of each user's interactions"
    for row in expected.rows:
        apart = row.difference("ndcg@10")
        line = next(line for line in out.splitlines() if line.strip().startswith(f"{row.baseline.name} "))
        numbers = [f"{value:.4f}" for value in (apart.mean_a, apart.difference, apart.low, apart.high)]
        assert re.findall(r"\d\.\d{4}", line)[:4] == [number.lstrip("-") for number in numbers]
    assert str(expected)[:20] in (tmp_path / "r.html").read_text()
    _, out, _ = run("evaluate", bundle, log, "--hold-out", 0.2, "--json")
    assert json.loads(out)["baselines"] == json.loads(json.dumps(expected.to_json()))
    _, out, _ = run("evaluate", bundle, log, "--hold-out", 0.2, "--no-baselines", "--json")
    assert json.loads(out)["baselines"] is None


def test_a_cut_in_time_has_one_moment_for_all(shop: Shop, log: Path, run: Run) -> None:
    """A bundle that has learned nothing cannot answer those who begin after it: they are counted and said."""
    split = at_time(Interactions.open(log), share=0.25)
    command = ("evaluate", shop.retriever.bundle.root, log, "--hold-out", 0.25, "--split", "time", "--no-baselines")
    code, out, _ = run(*command)
    assert code == 0
    assert out.startswith("to be found: the last 25% of all interactions, from 2023-11-1")
    new = len(split.new_users)
    assert new == 4
    assert f"users without a history, left out: {new}; this bundle has not learned what is popular, as fit does" in out
    _, out, _ = run(*command, "--json")
    found = json.loads(out)
    before, after = (set(part.table["user_id"].to_pylist()) for part in (split.past, split.future))
    assert (found["queries"], found["new_users"], found["without_history"]) == (len(before & after), 0, new)


def test_users_ask_when_the_rest_begins(shop: Shop, log: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    class Spied(type(shop.retriever)):  # type: ignore[misc]
        def recommend(self, *args: Any, **named: Any) -> Candidates:  # noqa: ANN401
            asked.append(named["times"])
            found: Candidates = super().recommend(*args, **named)
            return found

    monkeypatch.setattr("retrieval.cli.commands.evaluate.Retriever", Spied)
    bundle = shop.retriever.bundle.root
    log_of = Interactions.open(log)
    assert run("evaluate", bundle, log, "--hold-out", 0.25, "--split", "time", "--no-baselines")[0] == 0
    assert asked[0] == at_time(log_of, share=0.25).cut
    asked.clear()
    assert run("evaluate", bundle, log, "--hold-out", 0.2, "--no-baselines")[0] == 0
    assert asked[0] is None  # now, in a visit that goes on


@pytest.mark.parametrize("cut", [None, "user", "time"])
def test_fit_holds_out_what_evaluate_asks_for(
    cut: SplitBy | None, log: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Interactions, FitConfig]] = []

    def fake(_: Path, interactions: Interactions, config: FitConfig, **__: object) -> None:
        given.append((interactions, config))
        raise KeyboardInterrupt

    monkeypatch.setattr("retrieval.cli.commands.fit.fit_bundle", fake)
    run("fit", "bundle", log, "--hold-out", 0.25, *(("--split", cut) if cut else ()))
    ((learned, config),) = given
    parts = SplitOptions(hold_out=0.25, split=cut).read(str(log), LogColumns())
    assert learned.table.equals(parts.history.table)
    assert parts.by == (cut or "user")
    assert config.split == (cut or FitConfig().split)


def test_parts_of_a_column_are_in_time_where_they_are(tmp_path: Path) -> None:
    rows = [
        {"user": "ann", "item": item, "time": START + n, "part": part}
        for n, (item, part) in enumerate((("a", "x"), ("b", "x"), ("c", "y")))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    source = str(tmp_path / "log.parquet")
    parts = SplitOptions("part=x", "part=y").read(source, LogColumns())
    assert (parts.cutoff, parts.by) == (START + 2, "time")
    assert parts.fraction == pytest.approx(1 / 3)
    backwards = SplitOptions("part=y", "part=x").read(source, LogColumns())
    assert (backwards.cutoff, backwards.by, backwards.fraction) == (None, "user", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{log}", "--history-rows", "a=b", "--relevant-rows", "a=c", "--split", "time"],
            "--split goes with --hold-out",
        ),
        (["--queries", "{log}", "--baselines"], "--baselines goes with a log of interactions"),
        (["--queries", "{log}", "--split", "time"], "--split goes with a log of interactions"),
        (["{still}", "--split", "time"], "--split time needs times, and all of this log is of one second"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], message: str, shop: Shop, log: Path, run: Run, tmp_path: Path
) -> None:
    still = tmp_path / "still.parquet"
    pq.write_table(pq.read_table(log).drop_columns(["timestamp"]), still)
    code, _, err = run("evaluate", shop.retriever.bundle.root, *(one.format(log=log, still=still) for one in arguments))
    assert code == 2
    assert message in err
