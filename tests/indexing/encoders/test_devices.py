"""Devices, batches and compilation of encoders, as far as they can be tested without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from indexing.encoders import Encoder, load_encoder
from indexing.encoders.base import golden_images
from indexing.encoders.inference import features
from indexing.encoders.inference.features import GPU_BATCH, Batches, CompiledFeatures, Features, fixed_length
from indexing.errors import DeviceError, EncoderError, InputError
from tests.tiny_models import (
    tiny_bert,
    tiny_chinese_clip,
    tiny_clap,
    tiny_clip,
    tiny_open_clip,
    tiny_siglip,
)

Make = Callable[..., Path]
TEXTS = ["a red mug", "two children fly a kite over the beach " * 9, "", "size 42 ☂", "a kite"]
NO_GPU = not torch.cuda.is_available()


def spec_of(make: Make, folder: Path) -> str:
    kinds = {tiny_open_clip: "open_clip:local-dir:", tiny_clap: "clap:", tiny_bert: "st:"}
    return f"{kinds.get(make, 'hf:')}{make(folder)}"


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
@pytest.mark.parametrize("make", [tiny_open_clip, tiny_clip, tiny_clap, tiny_bert])
def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path, make: Make) -> None:
    with pytest.raises(DeviceError, match=r"device='cuda' was asked for, but torch sees no GPU"):
        load_encoder(spec_of(make, tmp_path / "model"), device="cuda")


@pytest.mark.parametrize("spec", ["pocket", "pocket+clap:nowhere", "vectors:", "vectors:separate"])
def test_what_computes_without_a_gpu_refuses_one(spec: str) -> None:
    with pytest.raises(EncoderError, match=r"device='cuda' was asked for, but encoder '(pocket' is|vectors:.*has no)"):
        load_encoder(spec, device="cuda")
    with pytest.raises(EncoderError, match=r"cannot be compiled, only open_clip: and hf: can; leave compile out"):
        load_encoder(spec, compile=True)


@pytest.mark.parametrize("make", [tiny_clap, tiny_bert])
def test_what_cannot_be_compiled_says_so(tmp_path: Path, make: Make) -> None:
    with pytest.raises(EncoderError, match=r"cannot be compiled, only open_clip: and hf: can; leave compile out"):
        load_encoder(spec_of(make, tmp_path / "model"), compile=True)


def test_other_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"device is 'gpu'; give 'auto', 'cpu', 'cuda' or 'cuda:1'"):
        load_encoder("pocket", device="gpu")
    with pytest.raises(InputError, match="compile is 'yes'"):
        load_encoder("pocket", compile="yes")  # type: ignore[arg-type]


def by_sdpa(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool]:
    """Say whether texts and pictures attend by torch's fused attention."""
    calls: list[int] = []
    attend = F.scaled_dot_product_attention

    def counted(*inputs: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401 - as torch has it
        calls.append(1)
        return attend(*inputs, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    encoder.encode_texts(TEXTS)
    texts = len(calls)
    encoder.encode_images(golden_images())
    return texts > 0, len(calls) > texts


@pytest.mark.parametrize("make", [tiny_open_clip, tiny_clip, tiny_siglip, tiny_chinese_clip])
def test_attention_is_fused(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ALIGN it is not: the library has no such form of it."""
    assert by_sdpa(load_encoder(spec_of(make, tmp_path / "model")), monkeypatch) == (True, True)


def test_a_gpu_gets_larger_batches() -> None:
    there, here = torch.nn.Linear(1, 1, device="meta"), torch.nn.Linear(1, 1)
    assert Batches.of(there, 32, fixed=False) == Batches(GPU_BATCH, GPU_BATCH)
    assert Batches.of(here, 32, fixed=True) == Batches(64, 32, fixed=True)


def test_texts_are_filled_up_to_few_lengths() -> None:
    lengths = {fixed_length(length, longest) for longest in (12, 20, 77) for length in range(1, longest + 1)}
    assert lengths == {12, 16, 20, 32, 77}
    assert all(fixed_length(length, 77) >= length for length in range(78))
    assert Batches(fixed=False).length(5, 77) == 5


def test_a_compiled_function_sees_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)

    def embed(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        made: torch.Tensor = model(x)
        return made

    model, rows = torch.nn.Linear(3, 2), torch.randn(7, 3, generator=torch.manual_seed(0))
    compiled = CompiledFeatures(Features(embed), 8)
    for count in (1, 2, 7):
        found = compiled(model, x=rows[:count])
        np.testing.assert_allclose(found, model(rows[:count]).detach().numpy(), atol=1e-6)
    assert shapes == [(1, 3), (8, 3), (8, 3)]


@pytest.mark.parametrize("make", [tiny_open_clip, tiny_clip])
def test_compiled_towers_give_the_same_vectors(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled by a backend that runs each graph as it was traced: values, not speed."""
    graphs: list[list[tuple[int, ...]]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        graphs.append([tuple(part.shape) for part in inputs if isinstance(part, torch.Tensor)])
        return graph.forward

    monkeypatch.setattr(features, "BACKEND", backend)
    spec = spec_of(make, tmp_path / "model")
    plain, compiled = load_encoder(spec), load_encoder(spec, compile=True)
    assert compiled.info == plain.info
    assert graphs
    for texts in (TEXTS, TEXTS[:1], TEXTS * 30):
        np.testing.assert_allclose(compiled.encode_texts(texts), plain.encode_texts(texts), atol=1e-5)
    for images in (golden_images(), golden_images()[:1], golden_images() * 9):
        np.testing.assert_allclose(compiled.encode_images(images), plain.encode_images(images), atol=1e-5)
    so_far = len(graphs)
    for count in range(1, 6):
        compiled.encode_texts(TEXTS[:count])
        compiled.encode_images(golden_images()[:count])
    assert len(graphs) == so_far  # no other shape was compiled


def test_what_torch_cannot_compile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_graph: torch.fx.GraphModule, _inputs: list[Any]) -> Callable[..., Any]:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(features, "BACKEND", broken)
    with pytest.raises(EncoderError, match=r"cannot compile open_clip:.*no C\+\+ compiler.*leave compile out"):
        load_encoder(spec_of(tiny_open_clip, tmp_path / "model"), compile=True)


def test_other_vectors_of_a_compiled_model_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: torch.fx.GraphModule, _inputs: list[Any]) -> Callable[..., Any]:
        return lambda *inputs: tuple(part.flip(-1) for part in graph.forward(*inputs))

    monkeypatch.setattr(features, "BACKEND", wrong)
    with pytest.raises(EncoderError, match=r"gives other vectors when it is compiled \(cosine .*leave compile out"):
        load_encoder(spec_of(tiny_open_clip, tmp_path / "model"), compile=True)
