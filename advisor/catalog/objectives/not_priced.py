"""Objectives that are known and not priced: why, and what would work."""

from __future__ import annotations

from typing import Final

from advisor.catalog.objectives.objective import TrainingObjective

_GENERATES: Final = (
    "each step generates its completions first, and neither the key-value cache nor the time of generation is modelled"
)
_POLICY_STEP: Final = (
    "a lower bound of memory: the policy's own step, --objective dpo with --batch-size half the completions of a step"
)

NOT_PRICED: Final = (
    TrainingObjective(
        name="grpo",
        says="group relative policy optimisation (trl.GRPOTrainer)",
        unmodelled=_GENERATES,
        instead=(_POLICY_STEP,),
    ),
    TrainingObjective(
        name="rloo", says="REINFORCE leave-one-out (trl.RLOOTrainer)", unmodelled=_GENERATES, instead=(_POLICY_STEP,)
    ),
    TrainingObjective(
        name="ppo",
        says="proximal policy optimisation",
        unmodelled=f"{_GENERATES}, nor the value model beside the policy; TRL 1.16 has no trainer for it any more",
        instead=("where pairs of answers are at hand: --objective dpo",),
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
