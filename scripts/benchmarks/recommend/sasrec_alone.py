"""SASRec of RecTools on MovieLens 100k: lists for two_stage.py to judge; run in an environment without this project.

PYTHON scripts/benchmarks/recommend/sasrec_alone.py DATA OUT --split split_user|rolling [--seed 0] [--epochs 30]
    [--batch 32] [--length 50] [--valid]

PYTHON belongs to an environment with rectools[torch] 0.19. DATA as for `baselines`. OUT is a folder,
where a file of this form is written: user_id, item_id, rank from 1, window (0, or from 1 when rolling), settings. The
model learns from what was liked (rated 4 and more), with 64 factors, two blocks and softmax loss, in batches of so many
users, of each so many of the latest items; lists are without anything that the user has rated before. Users who have
liked nothing get no list. With --valid, what comes after train is asked for.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

LIKED = 4.0
K = 20
SECONDS_PER_DAY = 86_400
WINDOWS, WINDOW_DAYS = 12, 14  # as in baselines.py


def main() -> None:
    """Fit for each cut, and write all lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=["split_user", "rolling"], required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32, help="RecTools has 128.")
    parser.add_argument("--length", type=int, default=50, help="RecTools has 100.")
    parser.add_argument("--valid", action="store_true")
    given = parser.parse_args()
    log = pd.read_parquet(given.data / "interactions.parquet")
    log = log.assign(user_id=log["user_id"].astype(str), item_id=log["item_id"].astype(str))
    log["seconds"] = seconds(log["timestamp"])
    histories = {0: by_user(log, ["train"] if given.valid else ["train", "valid"])}
    if given.split == "rolling":
        histories = rolling(log)
    settings = {"epochs": given.epochs, "batch_size": given.batch, "session_max_len": given.length}
    lists = [recommended(past, given.seed, settings).assign(window=window) for window, past in histories.items()]
    settings_text = f"{given.epochs} epochs, batches of {given.batch}, the latest {given.length}"
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"{given.split}-{given.epochs}-{given.batch}-{given.length}-{given.seed}.parquet"
    pd.concat(lists).assign(settings=settings_text).to_parquet(given.out / name, index=False)


def seconds(times: pd.Series) -> pd.Series:
    """Give times as whole seconds since 1970."""
    if pd.api.types.is_datetime64_any_dtype(times):
        return times.astype("int64") // 10**9
    return times.astype("int64")


def by_user(log: pd.DataFrame, parts: list[str]) -> pd.DataFrame:
    """Keep some parts of split_user."""
    return log[log["split_user"].isin(parts)]


def rolling(log: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Give what comes before each window; the last window ends with the log."""
    end = int(log["seconds"].max()) + 1
    cuts = [end - (WINDOWS - number) * WINDOW_DAYS * SECONDS_PER_DAY for number in range(WINDOWS)]
    return {window: log[log["seconds"] < cut] for window, cut in enumerate(cuts, start=1)}


def recommended(past: pd.DataFrame, seed: int, settings: dict[str, int]) -> pd.DataFrame:
    """Learn from what was liked, and list the best that each user has not rated."""
    seed_everything(seed)
    liked = past[past["rating"] >= LIKED].sort_values("seconds", kind="stable")
    columns = {
        Columns.User: liked["user_id"],
        Columns.Item: liked["item_id"],
        Columns.Weight: 1.0,
        Columns.Datetime: pd.to_datetime(liked["seconds"], unit="s"),
    }
    dataset = Dataset.construct(pd.DataFrame(columns))
    model = SASRecModel(n_factors=64, n_blocks=2, loss="softmax", deterministic=True, **settings)
    model.fit(dataset)
    depth = K + int(past.groupby("user_id")["item_id"].nunique().max())  # so that K are left without what was rated
    found = model.recommend(liked["user_id"].unique(), dataset, k=depth, filter_viewed=False)
    rated = pd.MultiIndex.from_frame(past[["user_id", "item_id"]])
    found = found[~pd.MultiIndex.from_frame(found[[Columns.User, Columns.Item]]).isin(rated)]
    found = found.sort_values([Columns.User, Columns.Rank], kind="stable")
    found = found.assign(rank=found.groupby(Columns.User).cumcount() + 1)
    found = found[found["rank"] <= K]
    return found[[Columns.User, Columns.Item, "rank"]].astype({"rank": np.int64}).reset_index(drop=True)


if __name__ == "__main__":
    main()
