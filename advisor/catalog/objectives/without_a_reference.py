"""Preference objectives that need no second model in the step: ORPO, CPO, SimPO, and reward models."""

from __future__ import annotations

from typing import Final

from advisor.catalog.objectives.objective import TrainingObjective
from advisor.catalog.objectives.sources import AXOLOTL, FACTORY, HANDBOOK, LLAMA_2, SIMPO, TRL, TRL_EXAMPLES
from advisor.domain.recommendation import Setting

_PAIRS: Final = "prompt, chosen and rejected"
_CAPYBARA: Final = f"{HANDBOOK}/zephyr-141b-A35b/orpo/config_full.yaml"

ORPO: Final = TrainingObjective(
    name="orpo",
    says="odds ratio preference optimisation (arXiv:2403.07691): the odds ratio beside next tokens, no reference",
    trainer="trl.experimental.orpo.ORPOTrainer",
    rows=("preference",),
    columns=_PAIRS,
    settings=(
        Setting(
            name="beta",
            value=0.1,
            low=0.05,
            high=0.25,
            why="the paper's lambda; TRL's own default",
            sources=(f"{TRL} ORPOConfig", _CAPYBARA),
        ),
        Setting(name="epochs", value=3.0, low=1.0, high=3.0, why="Zephyr-ORPO's", sources=(_CAPYBARA,)),
        Setting(
            name="effective_batch_size",
            value=16,
            low=8,
            high=64,
            why="the number is ours, near published runs'",
            sources=(_CAPYBARA, f"{AXOLOTL}/mistral/orpo/mistral-qlora-orpo.yml"),
        ),
    ),
    full=(
        Setting(
            name="learning_rate",
            value=5e-6,
            low=1e-6,
            high=1.5e-5,
            why="Zephyr-ORPO's; TRL's own default is 1e-6, its example's 8e-6",
            sources=(_CAPYBARA, f"{TRL} ORPOConfig", f"{TRL_EXAMPLES}/orpo.py"),
        ),
    ),
    adapter=(
        Setting(
            name="learning_rate",
            value=8e-5,
            low=2.7e-5,
            high=2.4e-4,
            why="TRL's example's, ten times its rate for all weights",
            sources=(f"{TRL_EXAMPLES}/orpo.py", f"{AXOLOTL}/mistral/orpo/mistral-qlora-orpo.yml"),
            conflict=f"0.0002 in {AXOLOTL}/mistral/orpo/mistral-qlora-orpo.yml",
        ),
    ),
)
CPO: Final = TrainingObjective(
    name="cpo",
    says="contrastive preference optimisation (arXiv:2401.08417): DPO without its reference, beside next tokens",
    trainer="trl.experimental.cpo.CPOTrainer",
    rows=("preference",),
    columns=_PAIRS,
    settings=(
        Setting(name="beta", value=0.1, low=0.1, high=0.5, why="TRL's own default", sources=(f"{TRL} CPOConfig",)),
        Setting(name="cpo_alpha", value=1.0, why="TRL's own default", sources=(f"{TRL} CPOConfig",)),
        Setting(name="epochs", value=1.0, low=1.0, high=3.0, why="as for DPO: none was found of CPO"),
    ),
    full=(
        Setting(
            name="learning_rate",
            value=1e-6,
            low=3.3e-7,
            high=8e-6,
            why="TRL's own default; its example takes 8e-6",
            sources=(f"{TRL} CPOConfig", f"{TRL_EXAMPLES}/cpo.py"),
            conflict=f"8e-06 in {TRL_EXAMPLES}/cpo.py",
        ),
    ),
    adapter=(
        Setting(
            name="learning_rate",
            value=1e-5,
            low=1e-6,
            high=2.4e-4,
            why="ten times the default for all weights, as between TRL's examples; the range is wide for want of runs",
            sources=(f"{TRL} CPOConfig", f"{TRL_EXAMPLES}/cpo.py"),
            conflict=f"8e-05 in {TRL_EXAMPLES}/cpo.py",
        ),
    ),
)
SIMPO_OBJECTIVE: Final = TrainingObjective(
    name="simpo",
    says="simple preference optimisation (arXiv:2405.14734): CPOTrainer with loss_type simpo and cpo_alpha 0",
    trainer="trl.experimental.cpo.CPOTrainer",
    rows=("preference",),
    columns=_PAIRS,
    settings=(
        Setting(name="beta", value=2.0, low=2.0, high=10.0, why="the authors' 2 to 2.5, or more", sources=(SIMPO,)),
        Setting(
            name="simpo_gamma",
            value=1.0,
            low=0.0,
            high=2.0,
            why="half of beta, where the authors start; TRL's own default is 0.5",
            sources=(SIMPO, f"{TRL} CPOConfig"),
        ),
        Setting(name="loss_type", value="simpo", why="of CPOTrainer", sources=(f"{TRL} CPOConfig",)),
        Setting(name="cpo_alpha", value=0.0, why="SimPO has no next-token loss", sources=(f"{TRL} CPOConfig",)),
        Setting(
            name="epochs",
            value=1.0,
            why="the authors'",
            sources=("github:princeton-nlp/SimPO@15c4ff891 training_configs/llama-3-8b-instruct-simpo.yaml",),
        ),
    ),
    full=(
        Setting(
            name="learning_rate",
            value=5e-7,
            low=3e-7,
            high=1e-6,
            why="the middle of the authors' grid; 1e-5 makes the model repeat itself",
            sources=(SIMPO,),
        ),
    ),
    adapter=(
        Setting(
            name="learning_rate",
            value=5e-6,
            low=5e-7,
            high=5e-5,
            why="ten times the rate for all weights, as DPO's adapters take; nobody published one: a wide range",
            sources=(SIMPO,),
        ),
    ),
)
REWARD: Final = TrainingObjective(
    name="reward",
    says="a reward model: one score for a conversation, higher for the preferred answer of a pair",
    trainer="trl.RewardTrainer",
    task="sequence-classification",
    rows=("preference",),
    columns=_PAIRS,
    settings=(
        Setting(
            name="epochs",
            value=1.0,
            low=1.0,
            high=3.0,
            why="Llama 2's: a second pass overfits",
            sources=(LLAMA_2, f"{FACTORY}/qwen3_lora_reward.yaml"),
        ),
    ),
    full=(
        Setting(
            name="learning_rate",
            value=1e-5,
            low=5e-6,
            high=1e-4,
            why="Llama 2's below 70B; TRL's own default is 1e-4",
            sources=(LLAMA_2, f"{TRL} RewardConfig"),
            conflict=f"0.0002 in {AXOLOTL}/gemma2/reward-model.yaml",
        ),
    ),
    adapter=(
        Setting(
            name="learning_rate",
            value=1e-4,
            low=3.3e-5,
            high=1e-3,
            why="TRL's own default and LLaMA-Factory's example's; TRL's guide says about 1e-3",
            sources=(
                f"{TRL} RewardConfig",
                f"{FACTORY}/qwen3_lora_reward.yaml",
                "github:huggingface/trl@067322f83 docs/source/reward_trainer.md",
            ),
        ),
    ),
)
