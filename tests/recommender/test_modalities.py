"""Pictures and sound are priced in their own units: no length that the model cannot have, no rate of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import advisor
from advisor.catalog.methods import find_method
from advisor.catalog.models import resolve_model
from advisor.catalog.models.modality import modality_of, sample_size
from advisor.catalog.models.spec import spec_of
from advisor.domain.model import ModelSpec
from advisor.errors import BadRequest
from tests.selection import one_in

VIT, WHISPER, GEMMA = "google/vit-base-patch16-224", "openai/whisper-small", "google/gemma-3-4b-pt"
_TOWER: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
_STAGES: dict[str, Any] = {"depths": [1, 1, 2, 1], "image_size": 224, "num_channels": 3}
BACKBONES: dict[str, tuple[dict[str, Any], int]] = {
    "vit": ({**_TOWER, "model_type": "vit"}, 17),
    "deit": ({**_TOWER, "model_type": "deit"}, 18),
    "dinov2": ({**_TOWER, "model_type": "dinov2", "patch_size": 16}, 17),
    "swin": ({**_STAGES, "model_type": "swin", "embed_dim": 32, "num_heads": [1, 2, 4, 8], "window_size": 7,
              "patch_size": 4, "num_layers": 4, "hidden_size": 256}, 1),
    "convnext": ({**_STAGES, "model_type": "convnext", "num_stages": 4, "hidden_sizes": [16, 32, 64, 128],
                  "patch_size": 4}, 1),
    "siglip": ({"model_type": "siglip", "vision_config": {**_TOWER, "model_type": "siglip_vision_model"},
                "text_config": {"model_type": "siglip_text_model"},
                "architectures": ["SiglipForImageClassification"]}, 16),
    "clip": ({"model_type": "clip", "vision_config": {**_TOWER, "model_type": "clip_vision_model"},
              "text_config": {"model_type": "clip_text_model"}, "architectures": ["CLIPForImageClassification"]}, 17),
}  # fmt: skip
"""Tiny definitions of each kind of image classification backbone, and the positions of a picture."""


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def backbone(name: str) -> ModelSpec:
    return spec_of(BACKBONES[name][0], name=name, asked=name, source="folder", where="a test")


def sized(spec: ModelSpec, **asked: Any) -> Any:
    given = {"seq_len": None, "target_len": None, "image_size": None, "audio_seconds": None}
    return sample_size(spec, **{**given, **asked})


def ask(costs: Any, model: str, **more: Any) -> Any:
    return advisor.recommend(model, "L4", costs=costs, samples=2000, method=["full", "lora"], **more)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_picture_has_the_positions_that_its_model_gives_it(name: str):
    spec = backbone(name)
    assert modality_of(spec) == "image"
    assert sized(spec).seq_len == BACKBONES[name][1]


def test_positions_are_those_of_the_published_models():
    assert sized(resolve_model(VIT)).seq_len == 197
    assert sized(resolve_model(VIT), image_size=384).seq_len == 577
    assert sized(resolve_model("google/siglip-so400m-patch14-384")).seq_len == 27**2
    whisper = sized(resolve_model(WHISPER))
    assert (whisper.seq_len, whisper.target_len) == (1500, 448)


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        (VIT, {"seq_len": 1024}, "197 tokens"),
        (VIT, {"image_size": 225}, "nearest possible: --image-size 224"),
        (VIT, {"audio_seconds": 3.0}, "reads pictures"),
        (VIT, {"target_len": 3}, "reads pictures"),
        (WHISPER, {"seq_len": 1024}, "1,500 positions"),
        (WHISPER, {"target_len": 449}, "longest possible: --target-len 448"),
        (WHISPER, {"audio_seconds": 3600.0}, "cut the recordings"),
        (WHISPER, {"image_size": 224}, "reads sound"),
        (GEMMA, {"image_size": 224}, "no number of pictures"),
        ("gpt2", {"image_size": 224}, "reads texts"),
    ],
)
def test_a_size_that_the_model_cannot_have_is_refused(model: str, asked: dict[str, Any], said: str):
    with pytest.raises(BadRequest) as caught:
        advisor.estimate(model, "L4", method="lora", **asked)
    assert said in str(caught.value)
    assert caught.value.hints


def test_a_shorter_recording_costs_the_same_and_the_answer_says_so(costs: Any):
    notes = ask(costs, WHISPER, audio_seconds=8).notes
    assert any("padded to 30 s and cost the same" in note for note in notes)
    assert not any("tokens assumed" in note for note in notes)


def test_rates_are_of_pictures_and_of_speech_and_not_of_texts(costs: Any):
    found = {m: {c.recipe.method: c.recipe.learning_rate for c in ask(costs, m).ranked} for m in (VIT, WHISPER)}
    assert 5e-4 <= found[VIT]["lora"] <= 1e-2
    assert found[VIT]["full"] <= 1e-4
    assert found[WHISPER] == {"lora": 1e-3, "full": 1e-5}
    rate = next(s for s in ask(costs, WHISPER).settings if s.name == "learning_rate")
    assert "whisper" in rate.why
    assert rate.sources
    assert find_method("lora").learning_rate.default != rate.value


@pytest.mark.slow
@pytest.mark.parametrize("name", one_in(9, list(BACKBONES)))
def test_every_backbone_is_priced_in_pictures_and_larger_ones_cost_more(name: str, tmp_path: Path):
    import json

    (tmp_path / "config.json").write_text(json.dumps(BACKBONES[name][0]))
    size = 224 if name in ("swin", "convnext") else 64
    peaks: list[float] = []
    for side in (size, 2 * size):
        found = advisor.estimate(str(tmp_path), "L4", method="lora", batch_size=4, image_size=side)
        assert found.time.tokens_per_second.unit == "images/s"
        peaks.append(found.memory.peak_allocated.mid)
    assert peaks[1] > peaks[0]
