"""Addresses that several objectives' settings were read at."""

from typing import Final

TRL: Final = "pypi:trl==1.16.0"
HANDBOOK: Final = "github:huggingface/alignment-handbook@19f03455e recipes"
FACTORY: Final = "github:hiyouga/LLaMA-Factory@ff6d4d12e examples/train_lora"
AXOLOTL: Final = "github:axolotl-ai-cloud/axolotl@067b021c8 examples"
TORCHTUNE: Final = "github:meta-pytorch/torchtune@bd2a0fc7c recipes/configs"
TRL_EXAMPLES: Final = "github:huggingface/trl@004c86793 examples/scripts"
RL_RATES: Final = "github:kenkuuu/lora-without-regret@99eca11 results/wandb_rl_export.db"
SIMPO: Final = "github:princeton-nlp/SimPO@005072f88 README.md"
LLAMA_2: Final = "arXiv:2307.09288, section 3.2.2"
