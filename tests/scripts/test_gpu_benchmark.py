"""The benchmark of devices runs without a GPU, tiny, and says what it left out and why."""

import json
import sys
from pathlib import Path

import pytest
import torch

from indexing.encoders.inference import features
from indexing.errors import DeviceError
from scripts.benchmarks import record
from scripts.benchmarks.encode import gpu
from tests.tiny_models import tiny_open_clip


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, dict[str, dict[str, object]]]:
    spec = f"open_clip:local-dir:{tiny_open_clip(tmp_path / 'model')}"
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gpu, "fitted", lambda folder, device: float((folder / "log.parquet").exists()))
    sizes = ["--contents", "5", "--users", "20", "--items", "3000", "--dim", "16", "--name", "tiny"]
    monkeypatch.setattr(sys, "argv", ["gpu", "--encoder", spec, *sizes, *options])
    gpu.main()
    kept: dict[str, dict[str, dict[str, object]]] = json.loads((tmp_path / "results" / "tiny.json").read_text())
    return kept


def test_it_measures_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "low_precisions", lambda _: ())
    monkeypatch.setattr(features, "BACKEND", "no such backend")
    kept = run(tmp_path, monkeypatch, "--device", "cpu", "--compile")["result"]
    rates = kept["a second"]["cpu"]
    assert isinstance(rates, dict)
    assert list(rates) == ["float32"]
    assert all(value > 0 for value in rates["float32"].values())
    assert kept["devices"]["cpu"]["name"] == "CPU"  # type: ignore[index]
    assert kept["index, s"]["cpu"]["recall@10"] > 0.9  # type: ignore[index]
    reasons = " ".join(map(str, kept["skipped"]))
    assert "float16 on cpu: it has no units for it" in reasons
    assert "bfloat16 on cpu: it has no units for it" in reasons
    assert "float32, compiled on cpu: torch.compile cannot compile" in reasons


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="device='cuda' was asked for, but torch sees no GPU"):
        run(tmp_path, monkeypatch, "--device", "cuda")
    assert not (tmp_path / "results").exists()
