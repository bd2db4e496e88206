"""Objectives that are known and not priced: why, and what would work."""

from __future__ import annotations

from typing import Final

from advisor.catalog.objectives.objective import TrainingObjective

_GENERATES: Final = (
    "its trainer generates completions and scores them by models of its own within the step, which are not modelled"
)
NOT_PRICED: Final = (
    TrainingObjective(
        name="ppo",
        says="proximal policy optimisation",
        unmodelled=f"{_GENERATES}, nor the value model beside the policy; TRL 1.16 has no trainer for it any more",
        instead=(
            "with a reward function: --objective grpo, or rloo",
            "where pairs of answers are at hand: --objective dpo",
        ),
    ),
    TrainingObjective(
        name="online-dpo",
        says="DPO on completions of its own (trl.experimental.online_dpo)",
        unmodelled=_GENERATES,
        instead=("on pairs that exist already: --objective dpo",),
    ),
    TrainingObjective(
        name="gkd",
        says="distillation from a teacher (trl.experimental.gkd)",
        unmodelled="the teacher beside the student and the divergence of their whole logits are not modelled",
        instead=("on the teacher's answers as texts: --objective sft",),
    ),
    TrainingObjective(
        name="prm",
        says="a reward for each step of an answer",
        unmodelled="labels of single tokens are not modelled",
        instead=("on whole answers: --objective reward",),
    ),
)
