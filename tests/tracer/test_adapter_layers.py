"""Whatever an adapter config does to which layers, peft builds what is attached, and all of it is traced.

`ADVISOR_EXAMPLES=1000 pytest tests/tracer/test_adapter_layers.py` draws that many configs instead of a few dozen.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from advisor.assembly.attach import attach
from advisor.catalog.models import resolve_model
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe
from advisor.tracer.parameter_census import Census, census_of, totals
from advisor.tracer.record_step import TraceRequest, whole_census
from advisor.tracer.trace import make_trace
from tests.conformance.tiny import TINY, Tiny

EXAMPLES = int(os.environ.get("ADVISOR_EXAMPLES", "40"))
DEEP = 9
"""Layers enough that some are copied where all are alike."""
_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers")
_TASK_TYPES = {"causal-lm": "CAUSAL_LM", "sequence-classification": "SEQ_CLS", "seq2seq": "SEQ_2_SEQ_LM"}


def deepened(tiny: Tiny) -> Tiny:
    fields = tiny.config.to_dict()
    fields |= {name: DEEP for name in _DEPTHS if name in fields} | {"layer_types": None}
    fields.pop("layer_types")
    return dataclasses.replace(tiny, name=f"{tiny.name}-deep", config=type(tiny.config)(**fields))


MODELS = {name: deepened(tiny) for name, tiny in TINY.items()}


def bare(tiny: Tiny, device: str) -> nn.Module:
    with torch.device(device):
        made: nn.Module = tiny.kind.from_config(copy.deepcopy(tiny.config), dtype=torch.float32)
    return made


_NAMES = {
    name: sorted(
        {
            path.rpartition(".")[2]
            for path, m in bare(tiny, "meta").named_modules()
            if type(m).__name__ in ("Linear", "Conv1D") and ".layer" in f".{path}".replace(".h.", ".layer.")
        }
    )
    for name, tiny in MODELS.items()
}
_PATHS = {
    name: [
        path
        for path, m in bare(tiny, "meta").named_modules()
        if type(m).__name__ in ("Linear", "Conv1D") and path.rpartition(".")[2] in _NAMES[name]
    ]
    for name, tiny in MODELS.items()
}
_LAYERED = {
    "tiny-llama": "layers",
    "tiny-bert": "layer",
    "tiny-t5": "block",
    "tiny-qwen3-moe": "layers",
    "tiny-gpt2": "h",
}
_OWN: dict[str, dict[str, Any]] = {
    "LORA": {"r": 4, "lora_alpha": 8},
    "ADALORA": {"init_r": 6, "target_r": 4, "total_step": 100, "tinit": 10, "tfinal": 10},
    "LOHA": {"r": 4},
    "LOKR": {"r": 4},
    "VERA": {"r": 4},
    "FOURIERFT": {"n_frequency": 50},
    "HRA": {"r": 4},
    "BONE": {},
    "RANDLORA": {"r": 4},
}


@st.composite
def adapter_configs(draw: st.DrawFn, models: tuple[str, ...] = tuple(MODELS)) -> tuple[str, dict[str, Any]]:
    """A model's name and an adapter config whose names all exist in it."""
    model = draw(st.sampled_from(models))
    kind = draw(st.sampled_from(["LORA"] * 6 + [k for k in _OWN if k not in ("LORA", "BONE")]))
    config: dict[str, Any] = {"peft_type": kind, "task_type": _TASK_TYPES[MODELS[model].task], **_OWN[kind]}
    names = draw(st.lists(st.sampled_from(_NAMES[model]), min_size=1, max_size=3, unique=True))
    low = draw(st.integers(0, DEEP - 2))
    high = draw(st.integers(low, DEEP - 1))
    form = draw(st.sampled_from(["names", "names", "all-linear", "pattern", "paths"]))
    if form == "names":
        config["target_modules"] = names
        if draw(st.booleans()):
            some = draw(st.lists(st.integers(0, DEEP - 1), min_size=1, max_size=4, unique=True))
            config["layers_to_transform"] = draw(st.sampled_from([some, low]))
            if draw(st.booleans()):
                config["layers_pattern"] = _LAYERED[model]
    elif form == "all-linear":
        config["target_modules"] = "all-linear"
    elif form == "pattern":
        config["target_modules"] = rf".*\.[{low}-{high}]\..*({'|'.join(names)})"
    else:
        config["target_modules"] = draw(st.lists(st.sampled_from(_PATHS[model]), min_size=1, max_size=5, unique=True))
    if draw(st.integers(0, 3)) == 0:
        config["exclude_modules"] = draw(st.sampled_from([[names[0]], rf".*\.{low}\..*"]))
    if kind in ("LORA", "LOHA", "LOKR") and draw(st.booleans()):
        config["rank_pattern"] = {draw(st.sampled_from([names[0], rf".*\.{high}\..*"])): draw(st.integers(1, 7))}
    if kind == "LORA":
        _lora_keys(draw, model, config, low)
    return model, config


def _lora_keys(draw: st.DrawFn, model: str, config: dict[str, Any], layer: int) -> None:
    one = draw(st.sampled_from(["", "save", "parameters", "tokens", "bias", "dora", "replication", "alpha"]))
    if one == "save":
        config["modules_to_save"] = [draw(st.sampled_from([*_NAMES[model], *_PATHS[model]]))]
    if one == "parameters" and "moe" in model:
        config["target_parameters"] = [f"{layer}.mlp.experts.gate_up_proj", "mlp.experts.down_proj"][: 1 + layer % 2]
    if one == "tokens" and "t5" not in model and "gpt2" not in model:
        config["trainable_token_indices"] = [1, 5, 7]
    if one == "bias":
        config["bias"] = draw(st.sampled_from(["all", "lora_only"]))
    if one == "dora":
        config["use_dora"] = True
    if one == "replication" and model == "tiny-llama":
        config["layer_replication"] = [[0, 6], [3, DEEP]]
    if one == "alpha":
        config["alpha_pattern"] = {rf".*\.{layer}\..*": 32}


def pefts_own(tiny: Tiny, config: dict[str, Any]) -> Census:
    """What peft makes of a real model with this config."""
    from peft import get_peft_model
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = PEFT_TYPE_TO_CONFIG_MAPPING[config["peft_type"]]
    known = {field.name for field in dataclasses.fields(kind)} - {"peft_type"}
    # as peft reads a config file: keys that its class lacks are left out
    fields = {key: value for key, value in config.items() if key in known}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = get_peft_model(bare(tiny, "cpu"), kind(**copy.deepcopy(fields)))  # type: ignore[arg-type]
    # a constant that a cast makes trainable, which the optimizer never sees a gradient of
    return {
        name: dataclasses.replace(f, trained=False) if ".ranknum." in name else f for name, f in census_of(made).items()
    }


def asked(name: str, config: dict[str, Any]) -> TraceRequest:
    tiny = MODELS[name]
    recipe = Recipe(method="lora", adapter_config=config, micro_batch_size=1)
    return TraceRequest(tiny.spec, tiny.workload, recipe, 8.0, False)


_DRAWS = settings(
    deadline=None, suppress_health_check=list(HealthCheck), derandomize="ADVISOR_EXAMPLES" not in os.environ
)


@pytest.mark.slow
@settings(_DRAWS, max_examples=EXAMPLES)
@given(drawn=adapter_configs())
def test_what_is_attached_is_what_peft_builds_name_by_name(drawn: tuple[str, dict[str, Any]]):
    name, config = drawn
    tiny = MODELS[name]
    try:
        own = pefts_own(tiny, config)
    except (ValueError, TypeError, NotImplementedError, LookupError):
        own = None
    model, recipe = bare(tiny, "meta"), asked(name, config).recipe
    if own is None:
        with pytest.raises(IllegalRecipe):
            attach(model, tiny.spec, tiny.workload, recipe)
    else:
        assert census_of(attach(model, tiny.spec, tiny.workload, recipe)) == own


@pytest.mark.exhaustive
@settings(_DRAWS, max_examples=max(4, EXAMPLES // 8), phases=(Phase.explicit, Phase.generate))
@given(drawn=adapter_configs(models=("tiny-llama", "tiny-qwen3-moe", "tiny-bert")))
def test_what_is_traced_is_the_whole_model(drawn: tuple[str, dict[str, Any]]):
    request = asked(*drawn)
    try:
        whole = totals(whole_census(request).values())
    except IllegalRecipe:
        with pytest.raises(IllegalRecipe):
            make_trace(request.spec, request.workload, request.recipe)
        return
    made = make_trace(request.spec, request.workload, request.recipe)
    assert (made.trainable_parameters, made.total_parameters) == whole


LORA: dict[str, Any] = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
EXPERTS = [f"{layer}.mlp.experts.{name}_proj" for layer in (7, 15, 23) for name in ("gate_up", "down")]
LLAMA = "meta-llama/Llama-3.1-8B"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
REPLICATED = {"target_modules": ["q_proj", "v_proj"], "layer_replication": [[0, 12], [4, 16]]}
PUBLIC: list[tuple[str, dict[str, Any], int]] = [
    # counted by peft 0.21.2 on the whole model
    (LLAMA, {"target_modules": ATTENTION, "layers_to_transform": [0, 31]}, 851_968),
    (LLAMA, {"target_modules": r"model\.layers\.[0-3]\..*(q_proj|v_proj)"}, 851_968),
    ("openai/gpt-oss-20b", {"r": 8, "target_modules": "all-linear", "target_parameters": EXPERTS}, 15_040_512),
    (LLAMA, {"peft_type": "ADAPTION_PROMPT", "adapter_len": 10, "adapter_layers": 6}, 245_766),
    ("meta-llama/Llama-3.2-1B", REPLICATED, 2_555_904),
    ("mistralai/Mixtral-8x7B-v0.1", {"target_modules": ["q_proj", "v_proj", "w1", "w2", "w3"]}, 350_748_672),
]


def public(name: str, changes: dict[str, Any]) -> TraceRequest:
    fields = {"task_type": "CAUSAL_LM", **changes} if "peft_type" in changes else {**LORA, **changes}
    spec = resolve_model(name)
    recipe = Recipe(method="lora", adapter_config=fields)
    return TraceRequest(spec, Workload(model=spec.name), recipe, 8.0, False)


@pytest.mark.parametrize(("name", "changes", "trained"), PUBLIC)
def test_public_configs_that_pick_their_layers_train_what_peft_counts(name: str, changes: dict[str, Any], trained: int):
    assert totals(whole_census(public(name, changes)).values())[0] == trained


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "changes", "trained"), PUBLIC)
def test_public_configs_that_pick_their_layers_are_traced_with_all_they_train(
    name: str, changes: dict[str, Any], trained: int
):
    request = public(name, changes)
    made = make_trace(request.spec, request.workload, request.recipe)
    assert made.trainable_parameters == trained
    assert made.total_parameters == totals(whole_census(request).values())[1]
