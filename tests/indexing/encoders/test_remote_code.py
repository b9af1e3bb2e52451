"""Code that a model brings is never run, whatever is answered on standard input; pickles are never read."""

import importlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from transformers import dynamic_module_utils

from indexing.encoders import load_encoder
from indexing.encoders.inference.checkpoints import check_settings, no_remote_code
from indexing.errors import EncoderError
from tests.tiny_models import tiny_bert, tiny_clap, tiny_clip, tiny_cross_encoder, tiny_open_clip, tiny_tokenizer

CANARY = "canary.txt"
ENTRIES = {
    "AutoConfig": "evil.Evil",
    "AutoModel": "evil.Evil",
    "AutoImageProcessor": "evil.Evil",
    "AutoFeatureExtractor": "evil.Evil",
    "AutoProcessor": "evil.Evil",
    "AutoTokenizer": ["evil.Evil", None],
}


class AnswersYes(io.StringIO):
    """Standard input of one who says yes to everything."""

    asked = 0

    def readline(self, *_: object) -> str:  # type: ignore[override]
        AnswersYes.asked += 1
        return "y\n"


@pytest.fixture(autouse=True)
def yes(monkeypatch: pytest.MonkeyPatch) -> None:
    AnswersYes.asked = 0
    monkeypatch.setattr(sys, "stdin", AnswersYes())


def add_code(folder: Path, canary: Path) -> None:
    """Put a module beside a model that writes a file as soon as it is imported."""
    code = f"from pathlib import Path\nPath({str(canary)!r}).write_text('run')\nclass Evil:\n    pass\n"
    (folder / "evil.py").write_text(code)


def change(file: Path, **settings: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def hostile(made: Path, canary: Path, file: str, **settings: object) -> Path:
    add_code(made, canary)
    change(made / file, auto_map=ENTRIES, **settings)
    return made


def picture_code(made: Path, canary: Path) -> str:
    return f"hf:{hostile(tiny_clip(made), canary, 'preprocessor_config.json', image_processor_type='Evil')}"


def tokenizer_code(made: Path, canary: Path) -> str:
    return f"hf:{hostile(tiny_clip(made), canary, 'tokenizer_config.json', tokenizer_class='Evil')}"


def sound_code(made: Path, canary: Path) -> str:
    return f"clap:{hostile(tiny_clap(made), canary, 'preprocessor_config.json', feature_extractor_type='Evil')}"


def sound_tokenizer_code(made: Path, canary: Path) -> str:
    return f"clap:{hostile(tiny_clap(made), canary, 'tokenizer_config.json', tokenizer_class='Evil')}"


def with_text_tower(made: Path, **text: object) -> str:
    config = json.loads((made / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= text
    (made / "open_clip_config.json").write_text(json.dumps(config))
    return f"open_clip:local-dir:{made}"


def open_clip_model(made: Path, canary: Path) -> str:
    other = hostile(tiny_bert(made.with_name("other")), canary, "config.json", model_type="evil")
    return with_text_tower(tiny_open_clip(made), hf_model_name=str(other))


def open_clip_tokenizer(made: Path, canary: Path) -> str:
    tiny_open_clip(made)
    tiny_tokenizer().save_pretrained(made)
    hostile(made, canary, "tokenizer_config.json", tokenizer_class="Evil")
    return with_text_tower(made, hf_tokenizer_name="x")


def open_clip_that_says_yes(made: Path, canary: Path) -> str:
    open_clip_tokenizer(made, canary)
    return with_text_tower(made, tokenizer_kwargs={"trust_remote_code": True})


def sentence_model(made: Path, canary: Path) -> str:
    bert = tiny_bert(made)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    (bert / "modules.json").write_text(json.dumps(modules))
    return f"st:{hostile(bert, canary, 'config.json', model_type='evil')}"


def sentence_model_that_says_yes(made: Path, canary: Path) -> str:
    sentence_model(made, canary)
    (made / "sentence_bert_config.json").write_text(json.dumps({"model_args": {"trust_remote_code": True}}))
    return f"st:{made}"


def sentence_module(made: Path, canary: Path) -> str:
    add_code(tiny_bert(made), canary)
    (made / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.Router"}])
    )
    types = {"types": {"0_evil": "evil.Evil"}, "structure": {"a": ["0_evil"]}, "parameters": {}}
    (made / "router_config.json").write_text(json.dumps(types))
    return f"st:{made}"


MODELS = [
    picture_code,
    sound_code,
    open_clip_model,
    open_clip_tokenizer,
    open_clip_that_says_yes,
    sentence_model,
    sentence_model_that_says_yes,
    sentence_module,
]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_code_of_a_model_is_refused_and_nobody_is_asked(
    make: Callable[[Path, Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make(tmp_path / "model", tmp_path / CANARY)
    with pytest.raises(EncoderError, match="needs code of its own"):
        load_encoder(spec)
    assert not (tmp_path / CANARY).exists()
    assert AnswersYes.asked == 0
    assert "custom code" not in capsys.readouterr().out


@pytest.mark.parametrize("make", [tokenizer_code, sound_tokenizer_code], ids=lambda make: make.__name__)
def test_where_the_library_has_a_class_of_its_own_it_takes_that(
    make: Callable[[Path, Path], str], tmp_path: Path
) -> None:
    encoder = load_encoder(make(tmp_path / "model", tmp_path / CANARY))
    assert encoder.encode_texts(["a red mug"]).shape == (1, 24)
    assert not (tmp_path / CANARY).exists()
    assert AnswersYes.asked == 0


def test_a_cross_encoder_with_code_is_refused(tmp_path: Path) -> None:
    from indexing.encoders.cross_encoder import load_cross_encoder

    made = hostile(tiny_cross_encoder(tmp_path / "model"), tmp_path / CANARY, "config.json", model_type="evil")
    with pytest.raises(EncoderError, match="needs code of its own"):
        load_cross_encoder(str(made))
    assert not (tmp_path / CANARY).exists()
    assert AnswersYes.asked == 0


def test_the_canary_would_have_sung(tmp_path: Path) -> None:
    """The code that is refused above runs when the library trusts it."""
    made = hostile(
        tiny_clip(tmp_path / "m"), tmp_path / CANARY, "preprocessor_config.json", image_processor_type="Evil"
    )
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever comes after the import
        transformers.AutoImageProcessor.from_pretrained(made, trust_remote_code=True).no_such_method()
    assert (tmp_path / CANARY).read_text() == "run"


def test_the_waiting_time_is_given_back() -> None:
    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    with no_remote_code("a"), no_remote_code("b"):
        assert dynamic_module_utils.TIME_OUT_REMOTE_CODE == 0
    with pytest.raises(EncoderError, match="c needs code of its own"), no_remote_code("c"):
        raise ValueError("pass trust_remote_code=True")
    assert dynamic_module_utils.TIME_OUT_REMOTE_CODE == before > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_implementation": "someone/kernel"},
        {"text_config": {"attn_implementation": {"": "someone/kernel@main"}}},
        {"a": [{"trust_remote_code": 1}]},
    ],
)
def test_settings_that_would_run_code_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(EncoderError, match="hf:x needs code of its own"):
        check_settings("hf:x", settings)


@pytest.mark.parametrize("tag", ["hf-hub:someone/pickled", "pickled/web"])
def test_pickles_of_a_hub_are_never_read(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_open_clip(tmp_path / "made")
    (made / "open_clip_model.safetensors").rename(made / "open_clip_pytorch_model.bin")
    hub = importlib.import_module("indexing.encoders.inference.hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "pickled", {"web": {"hf_hub": "someone/pickled/"}})
    config = json.loads((made / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "pickled", config)
    folder = tmp_path / "hub" / "models--someone--pickled"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    shutil.copytree(made, folder / "snapshots" / ("0" * 40))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with pytest.raises(EncoderError, match=r"no safetensors, only open_clip_pytorch_model\.bin, a pickle"):
        load_encoder(f"open_clip:{tag}")
