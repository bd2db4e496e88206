"""Model folders that try to have their own code run, each made from a harmless one; used by tests and a benchmark."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MODULES = ("advisor", "torch", "transformers", "peft", "numpy", "json", "tokenizers", "pydantic", "psutil", "optuna")
"""Names under which a file in the folder one stands in would be imported instead of the real module."""


def _code(mark: Path) -> str:
    return f"import pathlib\npathlib.Path({str(mark)!r}).write_text('foreign code ran')\n"


def _pickle_of(mark: Path) -> bytes:
    """Protocol 0: os.system of the mark."""
    return f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()


def _update(path: Path, **fields: object) -> None:
    found = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(found | fields))


def tokenizer_auto_map(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(_code(mark) + "class T:\n    pass\n")
    _update(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}, tokenizer_class="T")


def tokenizer_auto_map_list(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(_code(mark) + "class T:\n    pass\n")
    _update(folder / "tokenizer_config.json", auto_map=["evil.T", None], tokenizer_class="T")


def config_auto_map(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(_code(mark) + "class C:\n    pass\n")
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer")
    _update(folder / "config.json", auto_map=dict.fromkeys(classes, "evil.C"))


def unknown_type_with_code(folder: Path, mark: Path) -> None:
    config_auto_map(folder, mark)
    _update(folder / "config.json", model_type="evil", architectures=["EvilForCausalLM"])


def processor_auto_map(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(_code(mark) + "class P:\n    pass\n")
    for name in ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        _update(
            folder / name, auto_map={"AutoProcessor": "evil.P", "AutoImageProcessor": "evil.P"}, processor_class="P"
        )


def custom_generate(folder: Path, mark: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(_code(mark) + "def generate(*a, **k):\n    pass\n")
    _update(folder / "generation_config.json", custom_generate=str(folder))


def hub_kernel(folder: Path, mark: Path) -> None:
    del mark
    _update(folder / "config.json", attn_implementation="someone/kernel", _attn_implementation="someone/kernel")


def pickled_weights(folder: Path, mark: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(_pickle_of(mark))


def pickle_behind_an_index(folder: Path, mark: Path) -> None:
    pickled_weights(folder, mark)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}})
    )


def modules_beside(folder: Path, mark: Path) -> None:
    for name in MODULES:
        (folder / f"{name}.py").write_text(_code(mark))
    (folder / "sitecustomize.py").write_text(_code(mark))


def template_escape(folder: Path, mark: Path) -> None:
    text = "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}"
    (folder / "chat_template.jinja").write_text(text)
    _update(folder / "tokenizer_config.json", chat_template=text)


def nested_auto_map(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(_code(mark) + "class C:\n    pass\n")
    _update(
        folder / "config.json", text_config={"auto_map": {"AutoConfig": "evil.C"}}, auto_map={"AutoConfig": "evil.C"}
    )


def adapter_auto_mapping(folder: Path, mark: Path) -> None:
    (folder / "evil_adapters.py").write_text(_code(mark) + "class M:\n    pass\n")
    _update(
        folder / "adapter_config.json", peft_type="LORA", r=4, base_model_name_or_path=str(folder),
        auto_mapping={"base_model_class": "M", "parent_library": "evil_adapters"},
    )  # fmt: skip


def pickled_adapter(folder: Path, mark: Path) -> None:
    _update(folder / "adapter_config.json", peft_type="LORA", r=4, task_type="CAUSAL_LM", base_model_name_or_path="x")
    (folder / "adapter_model.bin").write_bytes(_pickle_of(mark))


def pickled_state(folder: Path, mark: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth"):
        (folder / name).write_bytes(_pickle_of(mark))


def pickled_rows(folder: Path, mark: Path) -> None:
    for name in ("train.pkl", "train.jsonl", "train.parquet", "train.npy"):
        (folder / name).write_bytes(_pickle_of(mark))


def dataset_script(folder: Path, mark: Path) -> None:
    (folder / f"{folder.name}.py").write_text(_code(mark))
    (folder / "dataset_infos.json").write_text("{}")
    (folder / "train.jsonl").write_text('{"text": "w1 w2"}\n')


def yaml_tag(folder: Path, mark: Path) -> None:
    text = f"base_model: x\nadapter: lora\nrun: !!python/object/apply:os.system ['touch {mark}']\n"
    for name in ("axolotl.yaml", "accelerate.yaml"):
        (folder / name).write_text(text)


HOSTILE: dict[str, Callable[[Path, Path], None]] = {
    maker.__name__: maker
    for maker in (
        tokenizer_auto_map,
        tokenizer_auto_map_list,
        config_auto_map,
        unknown_type_with_code,
        processor_auto_map,
        custom_generate,
        hub_kernel,
        pickled_weights,
        pickle_behind_an_index,
        modules_beside,
        template_escape,
        nested_auto_map,
        adapter_auto_mapping,
        pickled_adapter,
        pickled_state,
        pickled_rows,
        dataset_script,
        yaml_tag,
    )
}

ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "three loops": "{% for a in messages * 99 %}{% for b in range(99999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",  # noqa: E501
    "product": "{{ 'a' * 9999999999 }}",
    "power": "{{ (9 ** 9999999) ** 99 }}",
    "doubling": "{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "centred": "{{ 'a'|center(9999999999) }}",
    "formatted": "{{ '%9999999999d' % 1 }}",
    "list doubling": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "much output": "{% for a in range(99999) %}{{ 'abcdefghij' * 9999 }}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "deep nesting": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
}
"""Chat templates that do not end, or take all memory."""


def _tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(str(folder), trust_remote_code=True)


def _config(folder: Path) -> None:
    from transformers import AutoConfig

    AutoConfig.from_pretrained(str(folder), trust_remote_code=True)


def _processor(folder: Path) -> None:
    from transformers import AutoProcessor

    AutoProcessor.from_pretrained(str(folder), trust_remote_code=True)


def _generate(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder))
    model.generate(torch.tensor([[5]]), custom_generate=str(folder), trust_remote_code=True, max_new_tokens=1)


def _unpickle(name: str) -> Callable[[Path], None]:
    def load(folder: Path) -> None:
        import pickle

        pickle.loads((folder / name).read_bytes())

    return load


def _auto_peft(folder: Path) -> None:
    from peft import AutoPeftModel

    sys.path.insert(0, str(folder))
    AutoPeftModel.from_pretrained(str(folder), import_allowlist=["evil_adapters"])


def _script(folder: Path) -> None:
    import runpy

    runpy.run_path(str(folder / f"{folder.name}.py"))


def _unsafe_yaml(folder: Path) -> None:
    import yaml

    yaml.unsafe_load((folder / "axolotl.yaml").read_text())


def _beside(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "json.tool", "--help"], cwd=folder, capture_output=True, check=False)


def _template(folder: Path) -> None:
    import jinja2

    jinja2.Template((folder / "chat_template.jinja").read_text()).render()


CARELESS: dict[str, Callable[[Path], None]] = {
    "tokenizer_auto_map": _tokenizer,
    "tokenizer_auto_map_list": _tokenizer,
    "config_auto_map": _config,
    "unknown_type_with_code": _config,
    "processor_auto_map": _processor,
    "custom_generate": _generate,
    "pickled_weights": _unpickle("pytorch_model.bin"),
    "pickle_behind_an_index": _unpickle("pytorch_model.bin"),
    "modules_beside": _beside,
    "template_escape": _template,
    "nested_auto_map": _config,
    "adapter_auto_mapping": _auto_peft,
    "pickled_adapter": _unpickle("adapter_model.bin"),
    "pickled_state": _unpickle("optimizer.pt"),
    "pickled_rows": _unpickle("train.pkl"),
    "dataset_script": _script,
    "yaml_tag": _unsafe_yaml,
}
"""How each kind's code is run by a program that trusts the folder: a kind that nothing can run would prove nothing.
`hub_kernel` is fetched from elsewhere, so its refusal is tested instead."""


def copy_of(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
