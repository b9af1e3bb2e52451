"""Profiles of users: how they are read, what they say by hand, and what is refused."""

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import DamagedFileError, InputError
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.features.column_encoders import Categories, Numbers, encode_columns
from retrieval.models.profile_model import ProfileModel, ProfileWarning, centred

RNG = np.random.default_rng(0)
AGE = Numbers("age", tuple(np.linspace(10, 70, 14).tolist()))
PLAN = Categories("plan", ("solo", "team"))
MEANS, WEIGHTS = RNG.normal(size=16).astype(np.float32), RNG.normal(size=(16, 3)).astype(np.float32)
TASTE = ProfileModel((AGE, PLAN), MEANS, WEIGHTS, 0.5, ("name",))


def test_files_are_read_by_user(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["007", "8"], "age": [31, 52], "plan": ["team", None]})
    pq.write_table(table, tmp_path / "users.parquet")
    (tmp_path / "users.csv").write_text("user_id,age,plan\n007,31,team\n8,52,\n")
    for name in ("users.parquet", "users.csv"):
        known = Profiles.open(tmp_path / name)
        assert known.positions(["8", "7", "007"]).tolist() == [1, -1, 0]
        lines = known.of(["007", "7"]).to_pylist()
        assert lines == [{"age": 31, "plan": "team"}, {"age": None, "plan": None}]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"name": ["ann"]}, r"need a column user_id; there are \['name'\]"),
        ({"user": ["ann", None], "age": [1, 2]}, "line 1 of the profiles has no user"),
        ({"user": ["ann", "bob", "ann"], "age": [1, 2, 3]}, "1 users have several profiles, e.g. 'ann'"),
        ({"user": ["ann"]}, "say nothing of anybody"),
    ],
)
def test_a_table_that_names_nobody_or_somebody_twice_is_refused(table: dict[str, list[object]], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Profiles.from_arrow(pa.table(table))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "users.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"users\.parquet cannot be read"):
        Profiles.open(tmp_path / "users.parquet")
    with pytest.raises(InputError, match=r"gone\.csv: there is no such file"):
        Profiles.open(tmp_path / "gone.csv")
    with pytest.raises(InputError, match=r"ends in '\.txt'"):
        Profiles.open(tmp_path / "users.txt")


def test_a_profile_asks_as_reckoned_by_hand_and_what_is_not_known_asks_nothing() -> None:
    table = pa.table({"age": [40, None, None], "plan": ["team", "team", "guild"]})
    bumps = np.exp(-(((40 - np.linspace(10, 70, 14)) / (0.8 * 60 / 13)) ** 2))
    of_age, of_plan = (bumps - MEANS[:14]) @ WEIGHTS[:14], (np.array([0, 1]) - MEANS[14:]) @ WEIGHTS[14:]
    asked = TASTE.queries(table)
    np.testing.assert_allclose(asked[:, 3], 1)  # popularity
    np.testing.assert_allclose(asked[0, :3], 0.5 * (of_age + of_plan), rtol=1e-5)
    np.testing.assert_allclose(asked[1, :3], 0.5 * of_plan, rtol=1e-5)
    assert asked[2].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(centred(encode_columns([PLAN], table), MEANS[14:])[0], [0, 1] - MEANS[14:], rtol=1e-6)


def test_lines_and_tables_ask_alike() -> None:
    table = TASTE.table(pa.table({"plan": ["team", None], "age": ["40", None], "shoe": [1, 2]}))
    lines = TASTE.table([{"age": "40", "plan": "team", "name": "Ann"}, {}])
    np.testing.assert_array_equal(TASTE.queries(table), TASTE.queries(lines))
    assert TASTE.queries(lines)[1].tolist() == [0, 0, 0, 1]
    numbered = ProfileModel((Categories("zip", ("10", "20")),), MEANS[:2], WEIGHTS[:2], 1.0)
    np.testing.assert_array_equal(
        numbered.queries(numbered.table([{"zip": 20}])), numbered.queries(numbered.table([{"zip": "20"}]))
    )


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(InputError, match=r"user 1 has \['shoe'\]; the profile model was trained on \['age', 'plan'\]"):
        TASTE.table([{}, {"shoe": 41}])
    with pytest.raises(InputError, match=r"'age' of profiles cannot be read.*forty"):
        TASTE.table([{"age": "forty"}])
    with pytest.raises(InputError, match="'age' of profiles has values of several kinds"):
        TASTE.table([{"age": "forty"}, {"age": 40}])
    with pytest.raises(InputError, match=r"the columns \['shoe'\]"):
        TASTE.table(pa.table({"shoe": [41]}))


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        (
            [{"plan": "guild"}, {"plan": "team"}],
            "nothing was learned of 'guild' of 'plan' of profiles, only of 'solo', 'team'",
        ),
        ([{"age": float("inf")}, {}], "nothing was learned of 'inf' of 'age' of profiles, only of finite numbers"),
    ],
)
def test_a_value_that_was_not_learned_is_said(profiles: list[dict[str, object]], message: str) -> None:
    with pytest.warns(ProfileWarning, match=message):
        TASTE.warn_of_unknown(TASTE.table(profiles))


def test_what_is_missing_or_known_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TASTE.warn_of_unknown(TASTE.table([{"plan": "solo", "age": 300}, {"plan": None, "age": float("nan")}]))


def test_columns_of_many_lines_are_checked_before_the_first() -> None:
    fields = [("user_id", pa.string()), ("plan", pa.string()), ("age", pa.int64())]
    assert TASTE.columns_in(pa.schema(fields)) == ["age", "plan"]
    with pytest.raises(InputError, match=r"\['age'\] of profiles hold texts"):
        TASTE.columns_in(pa.schema([*fields[:2], ("age", pa.string())]))


def test_saved_and_read_it_is_the_same_and_damage_is_reported() -> None:
    data = TASTE.to_bytes()
    again, table = ProfileModel.from_bytes(data), pa.table({"age": [40], "plan": ["solo"]})
    np.testing.assert_array_equal(again.queries(table), TASTE.queries(table))
    assert (again.columns, again.ignored) == (TASTE.columns, ("name",))
    with pytest.raises(DamagedFileError, match="cannot be read"):
        ProfileModel.from_bytes(data[:40])
    with pytest.raises(DamagedFileError, match="for 16 features"):
        ProfileModel.from_bytes(ProfileModel((AGE, PLAN), MEANS[:15], WEIGHTS, 0.5).to_bytes())
