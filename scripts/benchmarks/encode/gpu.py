"""What a device does: pictures and texts encoded a second, seconds of a fit, and seconds to build an index.

    python -m scripts.benchmarks.encode.gpu --device cuda [--compile] [--encoder open_clip:ViT-B-32/openai]

Everything is measured on the device and on the CPU of the same machine. Without ``--encoder`` the model is a ViT-B/32
with random weights, which changes no speed. What cannot be measured is listed with the reason, and the rest is kept: a
FAISS without GPUs, for example. A GPU that is not there is an error.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.encoders import Encoder, load_encoder
from indexing.encoders.inference.torch_device import torch_device
from indexing.encoders.inference.torch_models import low_precisions
from indexing.errors import DeviceError, EncoderError
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams
from indexing.runtime.device import CPU
from retrieval.fitting.fit import fit
from retrieval.interactions.interactions import Interactions
from scripts.benchmarks.fit.fit_cost import BUNDLE, LOG, simulated
from scripts.benchmarks.record import keep

ROUNDS, SIDE = 3, 256
Rates: TypeAlias = dict[str, float | None]
WORDS = ("red", "blue", "mug", "lamp", "of", "wood", "for", "children", "with", "a", "handle", "size", "42", "old")


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True, help="cpu, cuda or cuda:1")
    parser.add_argument("--encoder", help="a model by name, in place of one with random weights")
    parser.add_argument("--compile", action="store_true", help="measure compiled models too")
    parser.add_argument("--contents", type=int, default=4096, help="pictures and texts to encode")
    parser.add_argument("--users", type=int, default=2000, help="users of the simulated log, of 100 interactions each")
    parser.add_argument("--items", type=int, default=200_000, help="vectors to index")
    parser.add_argument("--dim", type=int, default=512, help="their length")
    parser.add_argument("--name", default="gpu", help="name of the result")
    parser.add_argument("--seed", type=int, default=0)
    keep((given := parser.parse_args()).name, measured(given), given.seed)


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Measure all parts on the device and on the CPU, which may be the same."""
    torch_device(given.device)
    skipped: list[str] = []
    devices = list(dict.fromkeys((given.device, CPU)))
    with tempfile.TemporaryDirectory() as folder:
        encoder = given.encoder or random_encoder(Path(folder) / "model", given.seed)
        simulated(Path(folder), given.users, 10 * given.users, given.seed)
        return {
            "devices": {device: about(device) for device in devices},
            "a second": {device: encoded(encoder, device, given, skipped) for device in devices},
            "whole fit, s": {device: fitted(Path(folder), device) for device in devices},
            "index, s": {device: indexed(device, given, skipped) for device in devices},
            "contents": given.contents,
            "users": given.users,
            "items": given.items,
            "dim": given.dim,
            "skipped": skipped,
        }


def about(device: str) -> dict[str, Any]:
    """What the device is, and what drives it."""
    if device == CPU:
        capability = torch.backends.cpu.get_cpu_capability()
        return {"name": "CPU", "threads": torch.get_num_threads(), "capability": capability}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory, GiB": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }


def random_encoder(folder: Path, seed: int) -> str:
    """Save a ViT-B/32 with random weights, and give its name."""
    from scripts.benchmarks.encode.same_weights import open_clip_folder  # needs sentence-transformers

    open_clip_folder(folder, seed)
    return f"open_clip:local-dir:{folder}"


def encoded(name: str, device: str, given: argparse.Namespace, skipped: list[str]) -> dict[str, Rates]:
    """Encode in every precision that the device has units for, and compiled where that is asked for."""
    rng = np.random.default_rng(given.seed)
    pixels = rng.integers(0, 256, (min(given.contents, 256), SIDE, SIDE, 3), np.uint8)
    images = [Image.fromarray(pixels[number % len(pixels)]) for number in range(given.contents)]
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 16))) for _ in range(given.contents)]
    rates: dict[str, Rates] = {}
    with_units = low_precisions(torch.device(device))
    for precision in ("float32", "float16", "bfloat16"):
        if precision != "float32" and precision not in with_units:
            skipped.append(f"{precision} on {device}: it has no units for it")
            continue
        for compiled in (False, True) if given.compile else (False,):
            label = f"{precision}, compiled" if compiled else precision
            try:
                encoder = load_encoder(name, precision=precision, device=device, compile=compiled)
                rates[label] = {
                    "images": rate(encoder.encode_images, images),
                    "images, prepared": prepared_rate(encoder, images),
                    "texts": rate(encoder.encode_texts, texts),
                }
            except EncoderError as error:
                skipped.append(f"{label} on {device}: {error}")
    return rates


def rate(encode: Callable[[Any], Vectors], contents: Any) -> float:  # noqa: ANN401
    """Contents a second, after a round that warms up."""
    seconds = []
    for turn in range(ROUNDS + 1):
        started = perf_counter()
        encode(contents)
        if turn:
            seconds.append(perf_counter() - started)
    return round(len(contents) / median(seconds), 1)


def prepared_rate(encoder: Encoder, images: Sequence[Image.Image]) -> float | None:
    """Pictures a second that were prepared before, as by the processes of a build; None for a model without a form."""
    form = getattr(encoder, "image_form", None)
    if form is None:
        return None
    distinct = {id(image): form.apply(image) for image in images[:256]}
    pixels = np.stack([distinct[id(images[number % len(distinct)])] for number in range(len(images))])
    return rate(encoder.encode_pixels, pixels)  # type: ignore[attr-defined]


def fitted(folder: Path, device: str) -> float:
    """Seconds of a whole fit, which publishes nothing."""
    log = Interactions.open(folder / LOG)
    started = perf_counter()
    fit(folder / BUNDLE, log, publish=False, device=device)
    return round(perf_counter() - started, 1)


def indexed(device: str, given: argparse.Namespace, skipped: list[str]) -> dict[str, float] | None:
    """Seconds to build inverted lists, and the share of the exact ten nearest that a search of 64 lists finds."""
    rng = np.random.default_rng(given.seed)
    spread = np.arange(1, given.dim + 1, dtype=np.float32) ** -0.5
    vectors = unit(rng.standard_normal((given.items, given.dim), np.float32) * spread)
    started = perf_counter()
    try:
        index = IvfIndex.build(vectors, device=device)
    except DeviceError as error:
        skipped.append(f"the index on {device}: {error}")
        return None
    seconds = perf_counter() - started
    queries = unit(rng.standard_normal((100, given.dim), np.float32) * spread)
    found = index.with_effort(SearchParams(lists=64, candidates=200)).search(queries, 10)[1]
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    recall = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, exact, strict=True)])
    return {"seconds": round(seconds, 2), "recall@10": round(float(recall), 3)}


if __name__ == "__main__":
    main()
