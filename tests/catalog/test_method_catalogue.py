"""The catalogue of methods: complete, sourced, quick to load, and true to the installed peft."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import advisor.catalog.methods as package
from advisor.catalog.methods import (
    MODULES,
    find_method,
    installed_peft_types,
    method_for_adapter_config,
    methods,
    prompt_length,
)
from advisor.catalog.methods.describe import describe, family_tree, select_methods
from advisor.catalog.methods.literature_only import PLACED
from advisor.catalog.methods.method import Method, Option
from advisor.catalog.methods.peft_types import capabilities
from advisor.catalog.methods.unlisted_peft import generic_method
from advisor.domain.recipe import Recipe
from advisor.errors import IllegalRecipe

EVERY = pytest.mark.parametrize("method", methods(), ids=lambda m: m.name)
NOT_METHODS = {
    "__init__",
    "method",
    "builders",
    "registry",
    "unlisted_peft",
    "peft_types",
    "literature_only",
    "describe",
    "named_optimizer",
    "batching_rules",
    "with_images",
}


def test_every_file_is_in_the_tuple_and_holds_one_method() -> None:
    files = {p.stem for p in Path(package.__file__).parent.glob("*.py")} - NOT_METHODS
    assert files == set(MODULES)
    assert len(MODULES) == len(set(MODULES))
    for name in MODULES:
        assert isinstance(import_module(f"advisor.catalog.methods.{name}").METHOD, Method)


def test_every_type_of_the_installed_peft_is_listed() -> None:
    import peft

    assert set(installed_peft_types()) == {t.name for t in peft.PeftType}
    assert {m.peft_type for m in methods()} >= set(installed_peft_types())


def test_a_type_without_a_file_gets_a_conservative_entry() -> None:
    new = generic_method("TOMORROW_LORA")
    assert new.name == "tomorrow-lora"
    assert not new.mergeable
    assert new.bases == {"dtype"}
    assert not new.core
    assert "not yet described" in new.says


def test_names_are_unique_and_every_alias_finds_its_method() -> None:
    names = [m.name for m in methods()]
    assert len(names) == len(set(names))
    for method in methods():
        assert find_method(method.name) is method
        for alias in method.evidence_names:
            assert find_method(alias) is method or find_method(alias).name == alias.replace("_", "-")


@EVERY
def test_what_peft_calls_a_prompt_takes_positions(method: Method) -> None:
    known = capabilities(method.peft_type) if method.peft_type else None
    if known is not None:
        assert bool(method.prompt) == known.prompt
    if method.prompt and not method.cannot:
        assert prompt_length(Recipe(method=method.name)) > 0
    else:
        assert prompt_length(Recipe(method=method.name)) == 0


@EVERY
def test_every_figure_has_a_source_and_lies_in_its_range(method: Method) -> None:
    assert method.paper.address.startswith("https://")
    for name, option in {"learning_rate": method.learning_rate, **method.options}.items():
        assert option.source.address.startswith("https://"), name
        assert isinstance(option.source.where, str), name
        assert option.says, name
        if option.low is not None and option.high is not None:
            assert option.low < option.high
            if isinstance(option.default, int | float):
                assert option.low <= option.default <= option.high, name
            if option.log:
                assert option.low > 0, name
    rate = method.learning_rate
    assert rate.log, "rates that differ tenfold lie equally far apart"


@EVERY
def test_exactly_one_way_of_attaching_is_set(method: Method) -> None:
    assert (method.peft_type is None) != (method.attach is None)
    assert method.bases
    assert method.default_base in method.bases
    assert method.architectures
    if method.attach is not None:
        module, _, function = method.attach.partition(":")
        assert callable(getattr(import_module(module), function))


@EVERY
def test_claims_agree_with_the_installed_peft(method: Method) -> None:
    if method.peft_type is None or method.cannot:
        return
    found = capabilities(method.peft_type)
    assert found is not None, "installed peft hides it"
    if method.mergeable:
        assert found.merges
    if method.bases & {"nf4", "int8"}:
        assert found.quantised or not found.merges or method.peft_type in ("LN_TUNING", "TRAINABLE_TOKENS")


def test_the_catalogue_loads_without_torch_within_a_tenth_of_a_second() -> None:
    script = (
        "from advisor.catalog.methods import methods; from advisor.catalog.methods.describe import describe;"
        "[describe(m) for m in methods()];"
        "import sys; print('torch' in sys.modules)"
    )
    loading = (
        "import time; t = time.process_time(); from advisor.catalog.methods import methods; methods();"
        "print(time.process_time() - t); import sys; assert not {'torch', 'peft', 'pydantic'} & set(sys.modules)"
    )
    described = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert described.stdout.strip() == "False"
    fastest = min(
        float(subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    # 0.1 on an idle machine; beside other work the same instructions take up to half as long again and more
    assert fastest < 0.2


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"peft_type": "LORA"}, "lora"),
        ({"peft_type": "LORA", "use_dora": True, "use_rslora": False}, "dora"),
        ({"peft_type": "LORA", "use_rslora": True}, "rslora"),
        ({"peft_type": "LORA", "init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"peft_type": "LORA", "init_lora_weights": "PiSSA"}, "pissa"),
        ({"peft_type": "LORA", "init_lora_weights": True}, "lora"),
        ({"peft_type": "LORA", "init_lora_weights": "eva"}, "eva"),
        ({"peft_type": "LORA", "alora_invocation_tokens": [5]}, "alora"),
        ({"peft_type": "LORA", "use_bdlora": {"nblocks": 2}}, "bd-lora"),
        ({"peft_type": "lora"}, "lora"),
        ({"peft_type": "PeftType.IA3"}, "ia3"),
        ({"peft_type": "LN_TUNING"}, "layernorm-tuning"),
    ],
)
def test_an_adapter_config_finds_its_method(config: dict[str, object], name: str) -> None:
    assert method_for_adapter_config(config).name == name


@pytest.mark.parametrize("config", [{}, {"peft_type": None}, {"peft_type": "LORRA"}, {"peft_type": 7}])
def test_an_adapter_config_of_no_known_type_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(IllegalRecipe, match="peft_type"):
        method_for_adapter_config(config)


def test_filters_narrow_and_the_tree_holds_every_method() -> None:
    quantised = select_methods(mergeable=True, base="nf4", architecture="encoder-decoder", family="reparameterised")
    assert quantised
    assert all(m.mergeable and "nf4" in m.bases and "encoder-decoder" in m.architectures for m in quantised)
    assert select_methods(search="no such thing anywhere") == ()
    drawn = {leaf["name"] for kinds in family_tree().values() for leaves in kinds.values() for leaf in leaves}
    assert drawn == {m.name for m in methods()} | {p.name for p in PLACED}
    assert not {m.name for m in methods()} & {p.name for p in PLACED}


def test_core_holds_the_methods_recommend_promises() -> None:
    wanted = {
        "full", "lora", "rslora", "dora", "qlora", "adalora", "ia3", "prompt-tuning", "prefix-tuning", "p-tuning",
        "layernorm-tuning", "bitfit", "vera", "oft", "adapter-houlsby", "adapter-pfeiffer",
    }  # fmt: skip
    assert {m.name for m in methods() if m.core} == wanted


def test_a_description_is_ready_for_json() -> None:
    import dataclasses
    import json

    for method in methods():
        assert json.loads(json.dumps(dataclasses.asdict(describe(method))))["name"] == method.name


def test_options_of_a_method_are_options() -> None:
    assert all(isinstance(o, Option) for m in methods() for o in m.options.values())
