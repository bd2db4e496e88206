"""Random questions about small models: what is drawn, and how it is asked."""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from advisor.catalog.methods import methods
from advisor.catalog.optimizer_names import OPTIMIZERS
from advisor.domain.candidate import Candidate
from advisor.domain.trace.timeline import Timeline
from advisor.errors import AdvisorError

EXAMPLES = int(os.environ.get("ADVISOR_LAWS", "0"))
"""How many questions each law is asked of; 0: a few dozen, the same ones each time. Thousands take an hour."""

_COMMON = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "vocab_size": 4096}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        **_COMMON,
    },
    "bert": {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "num_hidden_layers": 4,
        "max_position_embeddings": 512,
        **_COMMON,
    },
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": 256,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 1024,
        "vocab_size": 4096,
    },
    "t5": {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "d_model": 256,
        "d_ff": 512,
        "d_kv": 64,
        "num_layers": 3,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "vocab_size": 4096,
        "is_encoder_decoder": True,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "moe_intermediate_size": 128,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 4096,
        **_COMMON,
    },
}
LONGEST = {"llama": 2048, "bert": 512, "gpt2": 1024, "t5": 512, "qwen3_moe": 2048}
METHODS = [m.name for m in methods() if not m.cannot]
RANKED = sorted(m.name for m in methods() if "rank" in m.options)
GPUS = ("A100", "H100", "L4", "T4", "RTX-4090", "MI300X", "V100")


@cache
def folder(model: str) -> str:
    """A folder with the config of a small model, and no weights."""
    place = Path(tempfile.mkdtemp(prefix="law-")) / model
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIGS[model]))
    return str(place)


recipes = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["llama", "llama", "bert", "gpt2", "t5", "qwen3_moe"]),
        "method": st.sampled_from([m.name for m in methods() if not m.cannot])
        | st.sampled_from(["lora", "full", "qlora"]),
        "gradient_checkpointing": st.booleans(),
        "trainer": st.sampled_from(["hf", "hf", "loop", "trl"]),
        "attn_implementation": st.sampled_from(["sdpa", "sdpa", "sdpa", "eager"]),
    },
    optional={
        "dtype": st.sampled_from(["bfloat16", "float16", "float32"]),
        "base": st.sampled_from(["dtype", "int8", "nf4"]),
        "autocast": st.booleans(),
        "optimizer": st.sampled_from([one.name for one in OPTIMIZERS if not one.refused]),
        "batching": st.sampled_from(["padded", "packed", "padding-free"]),
    },
)
"""What decides the trace."""

sizes = st.fixed_dictionaries(
    {
        "gpu": st.sampled_from(GPUS),
        "batch_size": st.integers(1, 32),
        "more_samples": st.integers(1, 32),
        "share": st.floats(0.05, 0.7),
        "longer": st.floats(0.05, 0.3),
        "mean": st.floats(0.1, 0.95),
        "gradient_accumulation": st.sampled_from([1, 1, 2, 3, 8]),
        "samples": st.integers(1, 10**6),
    }
)
"""What one trace answers for: batch, the share of the longest length, and how much more of each is asked next."""


@cache
def _asked(model: str, text: str) -> Candidate | AdvisorError:
    import advisor

    try:
        return advisor.estimate(folder(model), **json.loads(text))
    except AdvisorError as error:
        return error


def ask(model: str, **options: Any) -> Candidate | None:
    """The estimate, or None where the question is refused; anything but an answer or a refusal is raised."""
    found = _asked(model, json.dumps(options, sort_keys=True))
    return None if isinstance(found, AdvisorError) else found


def timeline(candidate: Candidate) -> Timeline:
    """The step that a candidate was priced from."""
    from advisor.catalog.gpus import find_gpu
    from advisor.catalog.models import resolve_model
    from advisor.domain.hardware import Hardware
    from advisor.tracer.timelines import timeline_of, trace_of

    hardware = Hardware.model_validate({"gpu": find_gpu(candidate.gpu)[0]})
    spec = resolve_model(folder(Path(candidate.workload.model).name))
    return timeline_of(trace_of(candidate.workload, candidate.recipe, hardware, spec))
