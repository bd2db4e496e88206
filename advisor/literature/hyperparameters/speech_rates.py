"""Learning rates of models of speech: no study compares methods on them, and rates of texts are not borrowed."""

from __future__ import annotations

from typing import Final

from advisor.catalog.methods.method import Method
from advisor.domain.recommendation import Setting
from advisor.literature.hyperparameters.objective_rates import scaled_as_lora

_TRANSFORMERS: Final = "github:huggingface/transformers@02f6103a0 examples/pytorch/speech-recognition/README.md"
_FAST: Final = "github:Vaibhavs10/fast-whisper-finetuning@0515e1129 README.md"
FULL: Final = Setting(
    name="learning_rate",
    value=1e-5,
    low=3.3e-6,
    high=5e-5,
    why="of transformers' own example, whisper-small on 5,000 steps",
    sources=(_TRANSFORMERS,),
)
ADAPTER: Final = Setting(
    name="learning_rate",
    value=1e-3,
    low=1e-4,
    high=3e-3,
    why="of peft's authors' guide, LoRA on whisper-large-v2",
    sources=(_FAST,),
)
_WARM_UP: Final = Setting(
    name="warmup_ratio",
    value=0.1,
    why="500 of 5,000 steps in transformers' own example",
    sources=(_TRANSFORMERS,),
)


def speech_settings(method: Method) -> tuple[Setting, ...]:
    """Learning rate and warm-up of a method on a model of speech, each with its source.

    Published rates are of all weights and of LoRA; another method's is its own on texts, moved as LoRA's is, within a
    wide range.
    """
    if method.family == "full":
        return (FULL, _WARM_UP)
    return (scaled_as_lora(ADAPTER, method, "on speech"), _WARM_UP)
