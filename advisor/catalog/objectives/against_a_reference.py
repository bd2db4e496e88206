"""Preference objectives that hold the policy near a frozen reference: DPO, IPO, KTO."""

from __future__ import annotations

from typing import Final

from advisor.catalog.objectives.objective import TrainingObjective
from advisor.catalog.objectives.sources import AXOLOTL, FACTORY, HANDBOOK, TORCHTUNE, TRL
from advisor.domain.recommendation import Setting

_LENGTH: Final = (
    Setting(
        name="epochs",
        value=1.0,
        low=1.0,
        high=3.0,
        why="passes over the pairs of published runs",
        sources=(f"{HANDBOOK}/zephyr-7b-beta/dpo/config_full.yaml", f"{FACTORY}/qwen3_lora_dpo.yaml"),
    ),
    Setting(
        name="effective_batch_size",
        value=16,
        low=8,
        high=128,
        why="samples of an optimizer step of published runs",
        sources=(f"{TRL} trl/scripts/dpo.py", f"{HANDBOOK}/zephyr-7b-beta/dpo/config_full.yaml"),
    ),
    Setting(
        name="warmup_ratio",
        value=0.1,
        why="of published runs",
        sources=(f"{HANDBOOK}/zephyr-7b-beta/dpo/config_qlora.yaml", f"{FACTORY}/qwen3_lora_dpo.yaml"),
    ),
    Setting(
        name="schedule",
        value="cosine",
        choices=("cosine", "linear"),
        why="of published runs; TRL's own default is linear",
        sources=(f"{HANDBOOK}/zephyr-7b-beta/dpo/config_full.yaml", f"{TRL} trl/scripts/kto.py"),
    ),
)
_BETA: Final = Setting(
    name="beta",
    value=0.1,
    low=0.01,
    high=0.5,
    why="TRL's own default; Zephyr took 0.01",
    sources=(f"{TRL} DPOConfig", f"{HANDBOOK}/zephyr-7b-beta/dpo/config_full.yaml"),
)
_FULL_RATE: Final = Setting(
    name="learning_rate",
    value=5e-7,
    low=1.7e-7,
    high=1.5e-6,
    why="Zephyr's and TRL's example's; TRL's own default is 1e-6",
    sources=(f"{TRL} trl/scripts/dpo.py", f"{HANDBOOK}/zephyr-7b-beta/dpo/config_full.yaml", f"{TRL} DPOConfig"),
    conflict=f"2e-05 in {TORCHTUNE}/llama3_1/8B_full_dpo.yaml",
)
_ADAPTER_RATE: Final = Setting(
    name="learning_rate",
    value=5e-6,
    low=1.7e-6,
    high=1.5e-5,
    why="ten times full fine-tuning's in TRL's example and Zephyr; TRL's own default, 1e-6, is for all weights",
    sources=(
        f"{TRL} trl/scripts/dpo.py",
        f"{HANDBOOK}/zephyr-7b-beta/dpo/config_qlora.yaml",
        f"{FACTORY}/qwen3_lora_dpo.yaml",
    ),
    conflict=f"0.0005 in {TORCHTUNE}/llama2/7B_lora_dpo.yaml",
)

DPO: Final = TrainingObjective(
    name="dpo",
    says="direct preference optimisation (arXiv:2305.18290); TRL's other loss types of it cost the same",
    trainer="trl.DPOTrainer",
    rows=("preference",),
    columns="prompt, chosen and rejected",
    reference=True,
    settings=(_BETA, *_LENGTH),
    full=(_FULL_RATE,),
    adapter=(_ADAPTER_RATE,),
)
IPO: Final = TrainingObjective(
    name="ipo",
    says="identity preference optimisation (arXiv:2310.12036): DPOTrainer with loss_type ipo",
    trainer="trl.DPOTrainer",
    rows=("preference",),
    columns="prompt, chosen and rejected",
    reference=True,
    settings=(
        _BETA.model_copy(update={"why": "TRL's own default; IPO's tau"}),
        Setting(name="loss_type", value="ipo", why="of DPOTrainer", sources=(f"{TRL} DPOConfig",)),
        *_LENGTH,
    ),
    full=(_FULL_RATE.model_copy(update={"why": f"DPO's, none was published for IPO: {_FULL_RATE.why}"}),),
    adapter=(_ADAPTER_RATE.model_copy(update={"why": f"DPO's, none was published for IPO: {_ADAPTER_RATE.why}"}),),
)
KTO: Final = TrainingObjective(
    name="kto",
    says="Kahneman-Tversky optimisation (arXiv:2402.01306), of answers marked good or bad",
    trainer="trl.KTOTrainer",
    rows=("kto", "preference"),
    columns="prompt, completion and label (true or false)",
    reference=True,
    fewest_rows=2,
    settings=(
        _BETA.model_copy(update={"why": "TRL's own default", "sources": (f"{TRL} KTOConfig",)}),
        *_LENGTH,
    ),
    full=(
        _FULL_RATE.model_copy(
            update={
                "why": "TRL's example's; TRL's own default is 1e-6",
                "sources": (f"{TRL} trl/scripts/kto.py", f"{TRL} KTOConfig"),
                "conflict": "",
            }
        ),
    ),
    adapter=(
        _ADAPTER_RATE.model_copy(
            update={
                "low": 5e-7,
                "why": "LLaMA-Factory's example's; TRL's takes full fine-tuning's 5e-7 for QLoRA too",
                "sources": (f"{FACTORY}/qwen3_lora_kto.yaml", f"{TRL} trl/scripts/kto.py"),
                "conflict": f"0.0002 in {AXOLOTL}/llama-3/qlora-1b-kto.yaml",
            }
        ),
    ),
)
