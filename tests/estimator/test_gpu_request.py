"""The card a question is about: described, this machine's, and what it can run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import advisor
from advisor.catalog.gpus import check_attention, find_gpu, gpus
from advisor.catalog.gpus.capabilities import attention_refusal, no_bf16
from advisor.catalog.gpus.gpu_lookup import forget, own_folder
from advisor.catalog.gpus.own_cards import add_card, template
from advisor.errors import BadRequest, IllegalRecipe, UnknownName
from advisor.estimator.estimate import answer, from_case
from advisor.estimator.gpu_request import dtype_asked, gpu_asked
from advisor.profiler import device
from advisor.profiler.device import DetectedDevice
from tests.selection import one_in

MODEL = "HuggingFaceTB/SmolLM2-135M"
ASKED = {"method": "lora", "batch_size": 1, "seq_len": 128}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_a_described_card_is_priced_as_an_assumption_and_never_as_the_measured_card():
    real = advisor.estimate(MODEL, "L40S", **ASKED)
    assert real.time.step.basis == "calibrated"
    found = advisor.estimate(MODEL, "X9000", gpu_memory="45GiB", gpu_like="L40S", samples=100, **ASKED)
    assert found.time.step.basis == found.time.tokens_per_second.basis == "assumed"
    assert found.time.training is not None
    assert found.time.training.basis == "assumed"
    assert found.gpu != "L40S"
    assert found.limit_bytes == int((45 - 0.75) * 2**30 * 0.95)
    assert any("described" in said for said in found.assumptions)
    assert found.money.on_demand is None


def test_a_line_of_a_file_describes_a_card_too():
    case = {"model": MODEL, "gpu_memory": "12GB", "gpu_like": "RTX-3060-12GB", **ASKED}
    assert answer(from_case(case)).time.step.basis == "assumed"
    assert answer(from_case({**case, "gpu_memory": 12})).time.step.basis == "assumed"
    with pytest.raises(BadRequest, match="gpu_memory"):
        from_case({**case, "gpu_memory": [12]})
    with pytest.raises(BadRequest, match="24TB"):
        answer(from_case({**case, "gpu_memory": "24TB"}))


def test_a_filled_template_is_priced(tmp_path: Path):
    figures = {
        "name": "X-9000",
        "generation": "Ampere",
        "memory_bytes": "12 GiB",
        "bandwidth_bytes_s": "360 GB/s",
        "compute_capability": 8.6,
    }
    rates = {"fp32_flop_s": "12.7 TFLOP/s", "bf16_flop_s": "25.5 TFLOP/s"}
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**template(), **figures, **rates}))
    add_card(path, own_folder())
    forget()
    found = advisor.estimate(MODEL, "x9000", **ASKED)
    twin = advisor.estimate(MODEL, "RTX-3060-12GB", **ASKED)
    assert found.time.step.mid == pytest.approx(twin.time.step.mid)
    assert found.time.step.basis == "modelled"


def test_a_gpu_with_other_memory_than_sold_keeps_its_rates():
    gpu, note = gpu_asked("RTX 4090", "48GB")
    assert (gpu.like, gpu.memory_bytes) == ("RTX-4090", 48 * 10**9)
    assert "assumption" in note


@pytest.mark.parametrize(
    "name", one_in(3, ["T4", "V100", "P100-16GB", "RTX-2080-Ti", "Quadro-RTX-8000", "GTX-1080-Ti"])
)
def test_bfloat16_on_a_card_without_it_is_refused_with_the_way_out(name: str):
    gpu = find_gpu(name)[0]
    chosen, notes = dtype_asked(None, gpu)
    assert chosen == "float16"
    assert "no bfloat16" in notes[0]
    half = advisor.estimate(MODEL, name, **ASKED)
    assert half.recipe.dtype == "float16"
    assert any("no bfloat16" in said for said in half.assumptions)
    for fields in ({"dtype": "bfloat16"}, {"mixed_precision": "bf16"}):
        with pytest.raises(IllegalRecipe, match="no bfloat16") as caught:
            advisor.estimate(MODEL, name, **ASKED, **fields)
        assert "--dtype float16" in caught.value.hints[0]
        with pytest.raises(IllegalRecipe, match="no bfloat16"):
            advisor.recommend(MODEL, name, seq_len=128, **fields)
    assert not any(
        "no bfloat16" in said for said in advisor.estimate(MODEL, name, dtype="float32", **ASKED).assumptions
    )


def test_bfloat16_is_the_default_where_the_card_has_it():
    assert dtype_asked(None, find_gpu("A100")[0]) == ("bfloat16", ())
    assert advisor.estimate(MODEL, "L4", **ASKED).recipe.dtype == "bfloat16"


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_what_a_card_supports_follows_from_its_compute_capability(gpu):
    second, third = attention_refusal(gpu, "flash_attention_2"), attention_refusal(gpu, "flash_attention_3")
    assert attention_refusal(gpu, "sdpa") == attention_refusal(gpu, "eager") == ""
    if gpu.vendor == "nvidia":
        assert bool(second) == (gpu.compute_capability < 8)
        assert bool(third) == (gpu.compute_capability != 9)
        assert bool(no_bf16(gpu)) == (gpu.compute_capability < 8)
    elif gpu.vendor == "amd":
        assert not second
        assert third
    else:
        assert second
        assert third


@pytest.mark.parametrize("name", ["Tesla T4", "V100", "RTX 2080 Ti", "Apple-M4-Max-64GB"])
def test_flash_attention_is_refused_where_it_cannot_run(name: str):
    with pytest.raises(IllegalRecipe, match="FlashAttention-2") as caught:
        advisor.estimate(MODEL, name, attn_implementation="flash_attention_2", **ASKED)
    assert "sdpa" in caught.value.hints[0]
    with pytest.raises(IllegalRecipe):
        advisor.recommend(MODEL, name, attn_implementation="flash_attention_2", seq_len=128)
    with pytest.raises(IllegalRecipe):
        check_attention(find_gpu(name)[0], "kernels-community/flash_attention_2")


@pytest.mark.parametrize("name", ["TPU-v5e", "TPU-v6e", "Gaudi2", "Gaudi3", "Trainium1", "Trainium2"])
def test_a_device_whose_memory_a_compiler_plans_is_refused(name: str):
    for verb in (advisor.estimate, advisor.recommend):
        fields = ASKED if verb is advisor.estimate else {"seq_len": 128}
        with pytest.raises(IllegalRecipe, match="cannot be predicted") as caught:
            verb(MODEL, name, **fields)
        assert "NVIDIA or AMD" in caught.value.hints[0]


@pytest.mark.parametrize("name", ["Apple-M4-Max-64GB", "Apple-M1-16GB"])
def test_another_allocator_than_cudas_is_said_and_widens_what_is_reserved(name: str):
    found = advisor.estimate(MODEL, name, **ASKED)
    assert any("reserved memory" in said and "allocator" in said for said in found.assumptions)
    memory = found.memory
    assert memory.peak_reserved.low <= memory.peak_allocated.mid
    assert memory.peak_reserved.high > 1.1 * memory.peak_reserved.mid


def test_a_slice_and_a_described_card_run_what_their_chip_runs():
    check_attention(find_gpu("A100 MIG 1g.5gb")[0], "flash_attention_2")
    with pytest.raises(IllegalRecipe):
        check_attention(gpu_asked("X", "16GB", "T4")[0], "flash_attention_2")


def seen(monkeypatch: pytest.MonkeyPatch, **found: object) -> None:
    monkeypatch.setattr(device, "ask", lambda: DetectedDevice.model_validate(found))


def test_auto_is_the_machines_own_card_with_the_memory_torch_reports(monkeypatch: pytest.MonkeyPatch):
    seen(monkeypatch, cuda="NVIDIA A100-SXM4-40GB", cuda_memory_bytes=int(39.39 * 2**30))
    gpu, note = gpu_asked("Auto")
    assert (gpu.name, gpu.usable_bytes) == ("A100-40GB-SXM", int(39.39 * 2**30))
    assert "this machine's" in note
    seen(monkeypatch, cuda="NVIDIA GeForce RTX 5060 Ti", cuda_memory_bytes=int(15.48 * 2**30))
    assert gpu_asked("auto")[0].name == "RTX-5060-Ti-16GB"
    seen(monkeypatch, cuda="NVIDIA A100-SXM4-80GB MIG 1g.10gb", cuda_memory_bytes=int(9.5 * 2**30))
    assert gpu_asked("auto")[0].name == "A100-80GB-SXM-MIG-1g.10gb"
    seen(monkeypatch, mps=True)
    monkeypatch.setattr(device, "cpu_name", lambda: "Apple M4 Max")
    monkeypatch.setattr(device, "_machine_memory", lambda: 64 * 2**30)
    assert gpu_asked("auto")[0].name == "Apple-M4-Max-64GB"


def test_auto_without_a_gpu_or_with_a_strange_one_says_what_to_type(monkeypatch: pytest.MonkeyPatch):
    seen(monkeypatch)
    with pytest.raises(BadRequest, match="no GPU on this machine") as caught:
        gpu_asked("auto")
    assert caught.value.exit_code == 2
    seen(monkeypatch, cuda="NVIDIA X9000", cuda_memory_bytes=24 * 2**30)
    with pytest.raises(UnknownName, match="X9000") as unknown:
        gpu_asked("auto")
    assert "--gpu-memory 24.00GiB --gpu-like" in unknown.value.hints[0]
    seen(monkeypatch, cuda="NVIDIA GeForce RTX 4090", cuda_memory_bytes=int(47.4 * 2**30))
    with pytest.raises(BadRequest, match="47"):
        gpu_asked("auto")
    with pytest.raises(BadRequest, match="described too"):
        gpu_asked("auto", "24GB")
