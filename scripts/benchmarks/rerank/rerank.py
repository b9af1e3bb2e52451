"""How fast the second stage orders given candidates: both heads, and a small cross-encoder, in one run.

    python -m scripts.benchmarks.rerank.rerank [--users 10000] [--each 200] [--items 100000] [--dim 512] [--seed 0]

The world is that of `stage_world`. "whole" is `SecondStage.rerank`: features, head and order; "head alone" is given the
features. Besides pairs a second of wall time there are pairs a second of processor time, which other work on the
machine disturbs less. The share of matrix products is that of processor time within np.matmul, timed by a wrapper in a
run of its own; copying the rows that are multiplied is timed separately. The cross-encoder has random weights in the
shape of a TinyBERT of 2 layers x 128, and reads a user's text of 24 words with an item's text of 24 words.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from indexing import arrays
from indexing.arrays import Vectors
from retrieval.candidates import Candidates
from retrieval.ranking.heads import NeuralHead, ScoringHead
from retrieval.ranking.second_stage import WORKERS, SecondStage
from retrieval.training.ranker.neural_head import scores_by_torch
from scripts.benchmarks.record import keep
from scripts.benchmarks.rerank.stage_world import World

LEARNED_FROM, PAST = 200, 5_000  # users that heads learn from, and that items are known by
GIVEN, SINGLE, READ = 1_000, 400, 2_000  # users of "head alone", single requests, pairs of the cross-encoder
WORDS = 24


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    world = World.of(given.items, given.dim, PAST, given.seed)
    asked = world.candidates(given.users, given.each, given.seed)
    neural, trees = world.heads(asked.take(np.arange(LEARNED_FROM)), given.seed)
    features = world.features.of(asked.take(np.arange(min(GIVEN, given.users))))
    result: dict[str, Any] = vars(given) | {"features": features.shape[2], "hidden": neural.w1.shape[1]}
    result |= {"threads": WORKERS, "neural": measured(world, neural, asked, features)}
    few = asked.take(np.arange(min(GIVEN, given.users)))
    result["trees (LightGBM)"] = measured(world, trees, few, features)
    result["torch against numpy"] = by_torch(neural, features)
    result["first layer"] = first_layer(neural, features, asked.rows)
    result["cross-encoder"] = {"head alone": cross_encoder(given.seed)}
    keep("rerank", result, given.seed)


def measured(world: World, head: ScoringHead, asked: Candidates, features: Vectors) -> dict[str, Any]:
    """Measure one head: in batch, given the features, and for single requests."""
    stage = SecondStage(world.features, head, world.space.indexed)
    stage.rerank(asked.take(np.arange(10)))  # what is computed once for all who ask
    columns = np.ascontiguousarray(features.transpose(2, 0, 1)).transpose(1, 2, 0)  # as they are made
    table = {
        "whole": speed(lambda: stage.rerank(asked), asked.rows.size),
        "head alone": speed(lambda: head.score(columns), features[..., 0].size),
        "single request, ms": latency(stage, asked),
    }
    if isinstance(head, NeuralHead):
        few = asked.take(np.arange(min(GIVEN, len(asked))))
        table["share of matrix products"] = {
            "whole": shares(lambda: stage.rerank(few)),
            "head alone": shares(lambda: head.score(columns)),
        }
    return table


def speed(work: Callable[[], object], pairs: int, times: int = 3) -> dict[str, int]:
    """Give pairs a second, the median of several runs, of wall and of processor time."""
    taken = []
    for _ in range(times):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = np.median(taken, axis=0)
    return {"pairs/s": round(pairs / wall), "best pairs/s": round(pairs / min(taken)[0])} | {
        "pairs/s of processor time": round(pairs / processor)
    }


def latency(stage: SecondStage, asked: Candidates) -> dict[str, list[float]]:
    """Give the 50th and 95th percentile of single requests: all of it, its features, its head."""
    spent: dict[str, list[float]] = {"whole": [], "features": [], "head": []}
    for line in range(min(SINGLE, len(asked))):
        one = asked.take([line])
        start = time.perf_counter()
        stage.rerank(one)
        ranked = time.perf_counter()
        columns = stage.features.columns(one)
        made = time.perf_counter()
        stage.head.score(columns.transpose(1, 2, 0))
        for name, seconds in zip(spent, (ranked - start, made - ranked, time.perf_counter() - made), strict=True):
            spent[name].append(1000 * seconds)
    return {name: np.percentile(one, [50, 95]).round(2).tolist() for name, one in spent.items()}


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Give the share of processor time within np.matmul, and of copying rows for it."""
    spent = {"products": 0.0, "copying rows": 0.0}

    def timed(name: str, function: Any) -> Any:  # noqa: ANN401
        def call(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            start = time.thread_time()
            found = function(*given, **named)
            spent[name] += time.thread_time() - start
            return found

        return call

    matmul, taken = np.matmul, arrays.gather_into
    np.matmul = timed("products", matmul)
    arrays.gather_into = timed("copying rows", taken)
    start = time.process_time()
    try:
        work()
    finally:
        whole = time.process_time() - start
        np.matmul, arrays.gather_into = matmul, taken
    return {name: round(seconds / whole, 3) for name, seconds in spent.items()}


def by_torch(head: NeuralHead, features: Vectors) -> dict[str, Any]:
    """Compare with the operations that the head was learned by."""
    apart = np.abs(scores_by_torch(head, features) - head.score(features)).max()
    return {"largest difference": float(apart)} | {
        "torch, head alone": speed(lambda: scores_by_torch(head, features), features[..., 0].size)
    }


def first_layer(head: NeuralHead, features: Vectors, rows: Any) -> dict[str, Any]:  # noqa: ANN401
    """Compare the product over all columns with one over those of pairs, items' parts of it being looked up."""
    x = np.ascontiguousarray(features.reshape(-1, head.width).T)
    of_items = 6  # popularity, liked, confidence and what is missing, of three views
    parts = np.random.default_rng(0).normal(size=(int(rows.max()) + 1, head.w1.shape[1])).astype(np.float32)
    wanted, block = rows[: len(features)].ravel(), 2048

    room = np.empty((head.w1.shape[1], block), np.float32)

    def whole() -> None:
        for start in range(0, x.shape[1], block):
            part = x[:, start : start + block]
            arrays.matmul_into(head.w1.T, part, room[:, : part.shape[1]])

    def looked_up() -> None:
        for start in range(0, x.shape[1], block):
            some = slice(start, start + block)
            hidden = parts.take(wanted[some], axis=0)
            hidden += np.matmul(x[of_items:, some].T, head.w1[of_items:])

    pairs = x.shape[1]
    return {"all columns": speed(whole, pairs, 5), "items' parts looked up": speed(looked_up, pairs, 5)}


def cross_encoder(seed: int) -> dict[str, int]:
    """Measure a small model with random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from indexing.encoders.cross_encoder import load_cross_encoder

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *(f"word{number}" for number in range(30_000))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        num_labels=1,
    )
    rng = np.random.default_rng(seed)
    texts = [" ".join(f"word{n}" for n in rng.integers(0, 30_000, WORDS)) for _ in range(READ)]
    pairs = [(texts[0], text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        BertForSequenceClassification(config).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **named).save_pretrained(folder)
        model = load_cross_encoder(str(Path(folder)))
    return speed(lambda: model.score(pairs), len(pairs))


if __name__ == "__main__":
    main()
