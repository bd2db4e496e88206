"""Whose fused kernels are modelled, of which release, and for which models: read from the libraries' own tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LIGER: Final = "liger-kernel 0.8.5"
CUT: Final = "cut-cross-entropy 25.1.1"
TRACED_OF_LIGER: Final = frozenset(
    """
    llama mistral ministral qwen2 qwen3 gemma gemma2 gemma3_text phi3 smollm3 olmo2 olmo3 glm4 exaone4
    """.split()  # noqa: SIM905 a list of words reads best as one
)
"""Model types whose Liger kernels are modelled: each compared with Liger's own code, `tests/tracer/test_liger.py`."""
OTHERS_OF_LIGER: Final = frozenset(
    """
    deepseek_v2 deepseek_v3 deepseek_v4 gemma3 gemma4_text gemma4 glm4v glm4v_moe gpt_oss internvl
    llama4_text llama4 llava granite mllama mllama_text_model mixtral muse_glimmer nemotron pixtral
    qwen3_moe qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen3_next qwen3_5 qwen3_5_text qwen3_5_moe
    qwen3_5_moe_text qwen3_vl qwen3_vl_text qwen3_vl_moe qwen3_vl_moe_text paligemma falcon_h1 smolvlm
    hunyuan_v1_dense hunyuan_v1_moe
    """.split()  # noqa: SIM905 a list of words reads best as one
)
"""Those that Liger has kernels for beside these: MODEL_TYPE_TO_APPLY_LIGER_FN of its transformers/monkey_patch.py."""
WITH_LORA_KERNELS: Final[Mapping[str, str]] = {"axolotl": "axolotl 0.19", "unsloth": "unsloth 2026.10.9"}
"""Trainers whose LoRA projections are fused unless they are told not to."""
FAST_OF_UNSLOTH: Final = frozenset(
    """
    llama mistral qwen2 qwen3 gemma gemma2
    """.split()  # noqa: SIM905 a list of words reads best as one
)
"""Model types that unsloth has a class by hand for, of those whose layer kernels are modelled (its models/ folder)."""
