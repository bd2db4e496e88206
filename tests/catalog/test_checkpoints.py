"""What a checkpoint says of itself: packed weights, output embeddings of its own, its head, its task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from advisor.catalog.models import resolve_model
from advisor.catalog.models.checkpoint import head_outputs, notes_of, stored_base
from advisor.catalog.models.spec import spec_of
from advisor.domain.workload import Workload
from advisor.errors import UnsupportedModel

TINY: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 128,
}


AUDIO = {
    "model_type": "qwen2_audio",
    "audio_config": {},
    "text_config": TINY,
    "architectures": ["Qwen2AudioForConditionalGeneration"],
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}, "this task is not modelled"),
        ({"model_type": "whisper", "architectures": ["WhisperForAudioClassification"]}, "this task is not modelled"),
        ({"model_type": "detr", "architectures": ["DetrForObjectDetection"]}, "this task is not modelled"),
        (AUDIO, "this task is not modelled"),
        ({"model_type": "clip", "text_config": TINY, "vision_config": {}, "architectures": ["CLIPModel"]}, "this task"),
        ({"model_type": "own", "architectures": ["OwnModel"], "auto_map": {"AutoModel": "m.Own"}}, "remote code"),
    ],
)  # fmt: skip
def test_a_class_for_another_task_is_refused_by_name(config, says):
    with pytest.raises(UnsupportedModel) as refused:
        spec_of({**TINY, **config}, name="n", asked="n", source="folder", where="here")
    assert says in refused.value.message
    assert "-U" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "outputs"),
    [
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, 1),
        ({"architectures": ["LlamaForSequenceClassification"], "id2label": {str(i): "x" for i in range(5)}}, 5),
        ({"architectures": ["LlamaForRewardModel"]}, 1),
        ({"architectures": ["BertForSequenceClassification"]}, None),
        ({"architectures": ["BertForMaskedLM"], "id2label": {"0": "a"}}, None),
        ({"architectures": ["BertForTokenClassification"], "id2label": {str(i): "x" for i in range(9)}}, None),
    ],
)
def test_the_head_has_the_outputs_that_the_definition_names(head, outputs):
    spec = spec_of({**TINY, **head}, name="n", asked="n", source="folder", where="here")
    assert head_outputs(spec) == outputs


@pytest.mark.parametrize("stored", ["gptq", "awq", "compressed-tensors", "hqq", "aqlm", "torchao", "unheard-of"])
def test_weights_packed_in_a_way_nobody_trains_on_are_refused_by_name(stored):
    config = {**TINY, "quantization_config": {"quant_method": stored, "bits": 4}}
    with pytest.raises(UnsupportedModel, match="(?i)" + stored):
        spec_of(config, name="n", asked="n", source="folder", where="here")


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "nf4"),
        ({"load_in_8bit": True}, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "int8"),
        ({"quant_method": "mxfp4"}, None),
        ({"quant_method": "fp8"}, None),
        (None, None),
    ],
)
def test_a_checkpoint_of_bitsandbytes_is_the_base_it_holds(settings, base):
    spec = spec_of({**TINY, "quantization_config": settings}, name="n", asked="n", source="folder", where="here")
    assert stored_base(spec) == base
    said = " ".join(notes_of(spec, Workload(model="n", seq_len=8)))
    assert ("dequantize=True" in said) == bool(settings and settings.get("quant_method") in ("mxfp4", "fp8"))


def test_a_quantised_copy_by_its_alias_is_no_model_before_quantisation():
    assert stored_base(resolve_model("unsloth/llama-3-8b-bnb-4bit")) == "nf4"
    assert stored_base(resolve_model("meta-llama/Meta-Llama-3-8B")) is None
    with pytest.raises(UnsupportedModel, match="layers that only its own"):
        resolve_model("unsloth/Llama-3.2-1B-unsloth-bnb-4bit")


def test_a_t5_holds_a_head_of_its_own_where_its_weights_or_its_definition_say_so(tmp_path):
    t5 = {
        "model_type": "t5", "d_model": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 9, "n_positions": 512,
        "relative_attention_num_buckets": 32, "decoder_start_token_id": 0,
    }  # fmt: skip
    known = {"name": "n", "asked": "n", "source": "folder", "where": "here"}
    assert spec_of({**t5, "tie_word_embeddings": False}, **known).own_head
    assert not spec_of({**t5, "tie_word_embeddings": True}, **known).own_head
    assert not spec_of(t5, **known).own_head
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"shared.weight": "a", "lm_head.weight": "a"}}))
    assert spec_of({**t5, "tie_word_embeddings": True}, weights=str(tmp_path), **known).own_head
    index.write_text(json.dumps({"weight_map": {"shared.weight": "a"}}))
    assert not spec_of({**t5, "tie_word_embeddings": False}, weights=str(tmp_path), **known).own_head
    index.write_text("[" * 100_000)
    assert spec_of({**t5, "tie_word_embeddings": False}, weights=str(tmp_path), **known).own_head


def test_relative_positions_alone_set_no_limit_but_are_noted():
    spec = resolve_model("google-t5/t5-large")
    assert spec.context_length is None
    long, short = (" ".join(notes_of(spec, Workload(model="n", seq_len=n, task="seq2seq"))) for n in (1024, 512))
    assert "trained on 512 tokens" in long
    assert "trained on" not in short


def test_a_multimodal_definition_says_that_no_image_is_priced():
    flat = {**TINY, "model_type": "qwen2_vl", "vision_config": {"depth": 2}}
    flat["architectures"] = ["Qwen2VLForConditionalGeneration"]
    spec = spec_of(flat, name="n", asked="n", source="folder", where="here")
    assert spec.task_class == "ImageTextToText"
    assert "no image is in the batch" in " ".join(notes_of(spec, Workload(model="n")))
