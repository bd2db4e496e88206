"""A method that a newer peft brings and the catalogue does not describe: a conservative entry, a notice, a real run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
from peft import mapping
from peft.utils import peft_types

import advisor
from advisor.catalog.methods import describe, find_method, methods, registry
from advisor.catalog.methods import peft_types as introspection
from advisor.interfaces.cli.main import run

NEW = "TOMORROW_TUNING"
HIDDEN, KEYS, LAYERS = 64, 32, 2


@dataclasses.dataclass
class TomorrowConfig(peft.LoraConfig):
    """As LoRA's, under the new type's name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_types.PeftType[NEW]


def forget() -> None:
    names = registry._names  # pyright: ignore[reportPrivateUsage]
    for cached in (registry.methods, names, introspection.installed_peft_types, introspection.capabilities):
        cached.cache_clear()


@pytest.fixture
def newer_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The installed peft with one PeftType more, in its source and in its mappings."""
    installed = Path(peft.__file__).parent
    (tmp_path / "utils").mkdir()
    shutil.copytree(installed / "tuners" / "lora", tmp_path / "tuners" / "lora")
    source = (installed / "utils" / "peft_types.py").read_text(encoding="utf-8")
    line = '    LORA = "LORA"\n'
    assert line in source
    (tmp_path / "utils" / "peft_types.py").write_text(
        source.replace(line, f'{line}    {NEW} = "{NEW}"\n'), encoding="utf-8"
    )
    monkeypatch.setattr(introspection, "peft_folder", lambda: tmp_path)

    member: Any = str.__new__(peft_types.PeftType, NEW)
    member._name_ = member._value_ = NEW
    monkeypatch.setitem(peft_types.PeftType._member_map_, NEW, member)
    monkeypatch.setitem(peft_types.PeftType._value2member_map_, NEW, member)
    monkeypatch.setitem(mapping.PEFT_TYPE_TO_CONFIG_MAPPING, member, TomorrowConfig)
    monkeypatch.setitem(mapping.PEFT_TYPE_TO_TUNER_MAPPING, member, peft.LoraModel)
    monkeypatch.setitem(mapping.PEFT_TYPE_TO_PREFIX_MAPPING, member, "lora_")
    forget()
    yield
    forget()


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    sizes = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
    }
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    return str(folder)


def test_before_it_is_installed_nobody_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", NEW]) == 2
    assert "unknown method" in capsys.readouterr().err


@pytest.mark.usefixtures("newer_peft")
def test_it_is_listed_claims_nothing_and_is_told_as_new(capsys: pytest.CaptureFixture[str]) -> None:
    found = find_method(NEW)
    assert found in methods()
    assert found.name == "tomorrow-tuning"
    assert (found.mergeable, found.bases, found.core, found.unrolls) == (False, frozenset({"dtype"}), False, False)
    assert "newer" not in describe.describe(found).implemented_by
    for typed in (["methods"], ["methods", "tomorrow-tuning"]):
        assert run(typed) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"{NEW} is new in the installed peft and not yet described here" in said


@pytest.mark.slow
@pytest.mark.usefixtures("newer_peft")
def test_it_is_attached_with_pefts_own_defaults_traced_and_priced_with_the_notice(model: str) -> None:
    candidate = advisor.estimate(model=model, gpu="L4", method="tomorrow-tuning", seq_len=64)
    # peft's defaults for Llama: rank 8 on the queries and the values
    assert candidate.trainable_parameters == LAYERS * 8 * ((HIDDEN + HIDDEN) + (HIDDEN + KEYS))
    assert candidate.memory.peak_device.mid > 0
    assert any("not yet described" in said for said in candidate.assumptions)
    from_config = advisor.estimate(
        model=model, gpu="L4", seq_len=64, adapter_config={"peft_type": NEW, "r": 4, "target_modules": ["q_proj"]}
    )
    assert from_config.recipe.method == "tomorrow-tuning"
    assert from_config.trainable_parameters == LAYERS * 4 * (HIDDEN + HIDDEN)


@pytest.mark.usefixtures("newer_peft")
def test_what_it_does_not_claim_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["estimate", "--model", model, "--gpu", "L4", "--method", "tomorrow-tuning"]
    assert run([*asked, "--base", "nf4"]) == 2
    assert "does not run on a base in nf4" in capsys.readouterr().err
    assert run([*asked, "--option", "rank=8"]) == 2
    assert "--adapter-config FILE" in capsys.readouterr().err
