"""Reinforcement objectives that learn from completions of the policy's own: GRPO, RLOO."""

from __future__ import annotations

from typing import Final

from advisor.catalog.objectives.objective import TrainingObjective
from advisor.catalog.objectives.sources import RL_RATES, TRL
from advisor.domain.recommendation import Setting

_DEEPSEEK_MATH: Final = "arXiv:2402.03300, section 4.2"
_LENGTH: Final = (
    Setting(
        name="epochs",
        value=1.0,
        low=1.0,
        high=3.0,
        why="one pass over the prompts, as DeepSeekMath's RL",
        sources=(_DEEPSEEK_MATH,),
    ),
    Setting(
        name="effective_batch_size",
        value=64,
        low=16,
        high=1024,
        why="completions of an optimizer step: the number is ours, TRL's own defaults are 8; DeepSeekMath took 1,024",
        sources=(_DEEPSEEK_MATH, f"{TRL} GRPOConfig"),
    ),
)
_FULL_RATE: Final = Setting(
    name="learning_rate",
    value=1e-6,
    low=1e-6,
    high=2e-5,
    why="TRL's own default and DeepSeekMath's policy's; a small model on an easy task learned fastest at 2e-5 and fell "
    "apart from 5e-5 on",
    sources=(f"{TRL} GRPOConfig", _DEEPSEEK_MATH, RL_RATES),
    conflict=f"2e-05 in {RL_RATES}, for 50 steps of Qwen3-1.7B",
)
_ADAPTER_RATE: Final = Setting(
    name="learning_rate",
    value=5e-5,
    low=1e-5,
    high=1e-4,
    why="LoRA of ranks 1, 16 and 256 alike held its best scores from 3e-5 to 9e-5; from 1.5e-4 on many a run of 50 "
    "steps collapsed at its end, and some of other models at 1e-4",
    sources=(RL_RATES,),
    conflict=f"1e-06, TRL's own default, is for all weights ({TRL} GRPOConfig)",
)

GRPO: Final = TrainingObjective(
    name="grpo",
    says="group relative policy optimisation (arXiv:2402.03300); TRL's other loss types of it cost the same",
    trainer="trl.GRPOTrainer",
    rows=("prompts", "prompt-completion"),
    columns="prompts (answers beside them are for the reward)",
    reference=True,
    generates=True,
    settings=(
        Setting(
            name="num_generations", value=8, low=4, high=64, why="TRL's own default", sources=(f"{TRL} GRPOConfig",)
        ),
        Setting(
            name="beta",
            value=0.0,
            low=0.0,
            high=0.04,
            why="TRL's own default: no reference",
            sources=(f"{TRL} GRPOConfig", _DEEPSEEK_MATH),
        ),
        *_LENGTH,
    ),
    full=(_FULL_RATE,),
    adapter=(_ADAPTER_RATE,),
)
RLOO: Final = TrainingObjective(
    name="rloo",
    says="REINFORCE leave-one-out (arXiv:2402.14740), the divergence part of the reward",
    trainer="trl.RLOOTrainer",
    rows=("prompts", "prompt-completion"),
    columns="prompts (answers beside them are for the reward)",
    reference=True,
    generates=True,
    settings=(
        Setting(
            name="num_generations", value=2, low=2, high=8, why="TRL's own default", sources=(f"{TRL} RLOOConfig",)
        ),
        Setting(name="beta", value=0.05, low=0.01, high=0.1, why="TRL's own default", sources=(f"{TRL} RLOOConfig",)),
        *_LENGTH,
    ),
    full=(_FULL_RATE.model_copy(update={"why": f"GRPO's, none was published for RLOO: {_FULL_RATE.why}"}),),
    adapter=(_ADAPTER_RATE.model_copy(update={"why": f"GRPO's, none was published for RLOO: {_ADAPTER_RATE.why}"}),),
)
