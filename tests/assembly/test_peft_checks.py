"""What cannot be asked is refused at every door, with the reason, the nearest legal choice and exit code 2."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, GPT2Config, LlamaConfig, T5Config

import advisor
from advisor.assembly.attach import attach
from advisor.catalog.methods import registry
from advisor.catalog.models import resolve_model
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import BadRequest, IllegalRecipe
from advisor.interfaces.cli.main import run
from advisor.tracer import trace

SIZES = {
    "llama": LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=64,
    ),
    "t5": T5Config(d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=2, vocab_size=64),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, bos_token_id=1, eos_token_id=1),
    "bert": BertConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=64),
}  # fmt: skip
CLASSES = {
    "llama": "LlamaForCausalLM",
    "t5": "T5ForConditionalGeneration",
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForSequenceClassification",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.set_num_threads(1)
    made: dict[str, str] = {}
    for name, config in SIZES.items():
        folder = tmp_path_factory.mktemp(name)
        document = {**config.to_dict(), "architectures": [CLASSES[name]]}
        (folder / "config.json").write_text(json.dumps(document), encoding="utf-8")
        made[name] = str(folder)
    return made


def options(method: str, **given: Any) -> dict[str, Any]:
    return {"method": method, "options": given}


def config(peft_type: str = "LORA", **given: Any) -> dict[str, Any]:
    fields = {"target_modules": ["q_proj"], **given} if peft_type in ("LORA", "ADALORA") else given
    return {"adapter_config": {"peft_type": peft_type, **fields}}


TARGETS = [
    (options("lora", target_modules="qproj"), "matches nothing", "near names: q_proj"),
    (options("lora", target_modules=["q_proj", "zz"]), "'zz' matches nothing", "all-linear"),
    (options("dora", target_modules=[]), "at least one layer", "all-linear"),
    (options("ssf", target_modules=[]), "at least one layer", "all-linear"),
    (options("lora", target_modules=[1]), "each by a text", "all-linear"),
    (config(target_modules=["zz"]), "'zz' matches nothing", "all-linear"),
    (config(target_modules="zz.*"), "'zz.*' matches nothing", "all-linear"),
    (config(target_modules="q_proj"), "'q_proj' matches nothing", "near names: q_proj"),
    (
        config("ADAPTION_PROMPT", target_modules="attn", adapter_len=4, adapter_layers=2),
        "matches nothing",
        "all-linear",
    ),
    (config(target_modules="(q_proj"), "no regular expression", "list of module names"),
    (config(exclude_modules=["q_proj"]), "excluded modules", "advisor methods lora"),
    (config(layers_to_transform=[99]), "layers_to_transform", "advisor methods lora"),
]
RANKS = [
    (options("lora", rank=65), "above the width", "rank 64"),
    (options("hira", rank=65), "above the width", "rank 64"),
    (options("adalora", initial_rank=65), "above the width", "rank 64"),
    (config(r=65), "above the width", "rank 64"),
    (config(r=65, target_modules="all-linear"), "above the width", "rank 64"),
    (config(r=65, target_modules=".*q_proj"), "above the width", "rank 64"),
    (config(r=4, rank_pattern={"q_proj": 65}), "above the width", "rank 64"),
]
VALUES = [
    (config(r="x"), "r = 'x' is not a number", "r = 8"),
    (config(r=4, lora_dropout=[]), "lora_dropout = [] is not a number", "lora_dropout = 0.0"),
    (config("PREFIX_TUNING"), "no length of a prompt", "num_virtual_tokens = 30"),
    (config("PROMPT_TUNING", num_virtual_tokens=-3), "no length of a prompt", "num_virtual_tokens = 100"),
    (config("ADALORA"), "total_step", "advisor methods adalora"),
    (options("svft", foo=3), "no option 'foo'", "advisor methods svft"),
    (options("lora", dropout=float("nan")), "not a number", "dropout = 0.0"),
]
CONFLICTS = [
    (options("adalora", initial_rank=4, target_rank=8), "above init_r = 4", "target_r = 4"),
    (config("ADALORA", init_r=6, target_r=6, total_step=1000), "nothing is left to prune", "init_r = 7"),
    (config(r=4, use_dora=True, use_bdlora={"nblocks": 2}), "variant combination", "advisor methods dora"),
    (config("OFT", r=5, oft_block_size=3, target_modules=["q_proj"]), "not both", "advisor methods oft"),
    ({**config(r=4), "rank": 8}, "beside an adapter config", "change the config"),
    ({**config(r=4), "method": "vera"}, "adapter config of lora", "leave --method out"),
    ({"method": "vera", "optimizer": "lora-fa"}, "makes lora the method lora-fa", "--method lora-fa"),
    ({"method": "dora", "optimizer": "lora-fa"}, "makes lora the method lora-fa", "--method lora-fa"),
    ({"method": "bitfit", "optimizer": "galore"}, "makes full the method galore", "--method galore"),
    ({"method": "galore", "optimizer": "sgd"}, "its own optimizer", "leave --optimizer out"),
    ({"method": "lora-plus", "optimizer": "adafactor"}, "its own optimizer", "leave --optimizer out"),
    ({"method": "qlora", "base": "dtype"}, "does not run on a base in dtype", "--base nf4"),
    ({"method": "full", "base": "nf4"}, "does not run on a base in nf4", "--base dtype"),
    ({"method": "prefix-tuning", "gradient_checkpointing": True}, "checkpointing", "--no-gradient-checkpointing"),
]
MODELS = [
    ("llama", {"method": "cross-attention-tuning"}, "runs on encoder-decoder", "methods that can: layernorm-tuning"),
    ("t5", {"method": "llama-adapter"}, "runs on decoder", "methods that can: ia3"),
    ("bert", {"method": "cpt"}, "runs on decoder", "methods that can: ia3"),
    ("gpt2", {"method": "boft"}, "transposed", "methods that can: lora"),
    ("t5", {"method": "lora", "task": "causal-lm"}, "cannot be trained for causal-lm", "--task seq2seq"),
]
EVERY = [*(("llama", *one) for one in (*TARGETS, *RANKS, *VALUES, *CONFLICTS)), *MODELS]


def typed(case: dict[str, Any], folder: Path) -> list[str]:
    """The case as a person types it."""
    words: list[str] = []
    for key, value in case.items():
        if key == "options":
            for name, given in value.items():
                words += ["--option", f"{name}={given if isinstance(given, str) else json.dumps(given)}"]
        elif key == "adapter_config":
            path = folder / "adapter_config.json"
            path.write_text(json.dumps(value), encoding="utf-8")
            words += ["--adapter-config", str(path)]
        elif value is True:
            words.append(f"--{key.replace('_', '-')}")
        else:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return words


@pytest.mark.parametrize(
    ("model", "case", "reason", "choice"), EVERY, ids=lambda v: json.dumps(v)[:60] if isinstance(v, dict) else None
)
def test_bad_input_gets_the_reason_and_the_nearest_choice_and_exit_code_2(
    folders: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    case: dict[str, Any],
    reason: str,
    choice: str,
) -> None:
    with pytest.raises(BadRequest) as refused:
        advisor.estimate(model=folders[model], gpu="L4", seq_len=64, **case)
    assert reason in str(refused.value)
    assert any(choice in hint for hint in refused.value.hints), refused.value.hints

    code = run(["estimate", "--model", folders[model], "--gpu", "L4", "--seq-len", "64", *typed(case, tmp_path)])
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert reason.split(" = ")[0] in said.err
    assert "Traceback" not in said.err


def attached(folders: dict[str, str], device: str = "meta", **recipe: Any) -> Any:
    spec = resolve_model(folders["llama"])
    sizes = {name: value for name, value in SIZES["llama"].to_dict().items() if name != "model_type"}
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes))
    return attach(model, spec, Workload.model_validate({"model": "llama"}), Recipe(**recipe))


@pytest.mark.parametrize(("case", "reason", "choice"), [*TARGETS, *RANKS])
def test_attach_refuses_the_same_on_its_own(
    folders: dict[str, str], case: dict[str, Any], reason: str, choice: str
) -> None:
    with pytest.raises(IllegalRecipe) as refused:
        attached(folders, **{"method": "lora", **case})
    assert reason in str(refused.value)
    assert choice in str(refused.value)


def test_the_widest_legal_rank_is_no_longer_refused(folders: dict[str, str]) -> None:
    assert attached(folders, method="lora", options={"rank": 64})
    assert attached(folders, method="lora", **config(r=64, rank_pattern={"q_proj": 64}))


UNHEARD = config(r=4, modules_to_save=["lm_head", "embed_token", "score"], colour="blue")
SAID = (
    "adapter config: colour = 'blue' is unknown to the installed peft and left out",
    "adapter config: modules_to_save 'embed_token' matches nothing in this model",
)


def test_what_of_a_users_config_does_not_count_is_told_each_time_not_only_when_traced(folders: dict[str, str]) -> None:
    first = advisor.estimate(model=folders["llama"], gpu="L4", seq_len=64, **UNHEARD)
    trace._memory.clear()  # pyright: ignore[reportPrivateUsage]
    from_the_store = advisor.estimate(model=folders["llama"], gpu="L4", seq_len=64, **UNHEARD)
    for answer in (first, from_the_store):
        assert [said for said in answer.assumptions if said.startswith("adapter config")] == list(SAID)
    plain = advisor.estimate(model=folders["llama"], gpu="L4", seq_len=64, **config(r=4, modules_to_save=["lm_head"]))
    assert not [said for said in plain.assumptions if said.startswith("adapter config")]


def test_a_real_run_tells_it_once_in_its_log(folders: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    def told() -> tuple[str, ...]:
        # other libraries log too: bitsandbytes, for one, where it lacks a kernel for the processor
        return tuple(record.getMessage() for record in caplog.records if record.name.startswith("advisor"))

    workload = Workload.model_validate({"model": "llama", "seq_len": 64})
    with caplog.at_level(logging.WARNING, logger="advisor"):
        traced = trace.make_trace(resolve_model(folders["llama"]), workload, Recipe(method="lora", **UNHEARD))
        assert not told()
        attached(folders, "cpu", method="lora", **UNHEARD)
    assert set(SAID) <= set(traced.assumptions)
    assert told() == SAID


@pytest.mark.parametrize(
    ("case", "method"),
    [
        ({"method": "full", "optimizer": "galore"}, "galore"),
        ({"method": "galore", "optimizer": "adamw_torch"}, "galore"),
        ({"method": "lora", "optimizer": "lora+"}, "lora-plus"),
    ],
)
def test_an_optimizer_that_says_the_method_is_the_methods_own(
    folders: dict[str, str], case: dict[str, Any], method: str
) -> None:
    asked = advisor.estimate(model=folders["llama"], gpu="L4", seq_len=64, **case)
    plain = advisor.estimate(model=folders["llama"], gpu="L4", seq_len=64, method=method)
    assert asked.recipe == plain.recipe
    assert asked.memory == plain.memory


@pytest.mark.parametrize("have", ["0.14.0", "none"])
def test_a_peft_too_old_for_a_method_is_told_the_version_it_needs(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, have: str
) -> None:
    monkeypatch.setattr(registry, "installed_peft_types", lambda: ("LORA", "ADALORA"))
    monkeypatch.setattr(registry, "peft_version", lambda: have)
    assert run(["estimate", "--model", folders["llama"], "--gpu", "L4", "--method", "miss"]) == 2
    said = capsys.readouterr().err
    assert f"installed is {have}" in said
    assert f"needs peft {registry.find_method('miss').needs_peft} or newer" in said
    assert "pip install -U peft" in said
    assert "Traceback" not in said
    assert run(["estimate", "--model", folders["llama"], "--gpu", "L4", "--seq-len", "64", "--method", "lora"]) == 0
