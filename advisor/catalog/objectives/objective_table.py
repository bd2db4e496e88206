"""All objectives by name, and what is refused of them by name."""

from __future__ import annotations

from functools import cache

from advisor.catalog.objectives.against_a_reference import DPO, IPO, KTO
from advisor.catalog.objectives.not_priced import NOT_PRICED
from advisor.catalog.objectives.objective import TrainingObjective
from advisor.catalog.objectives.with_generation import GRPO, RLOO
from advisor.catalog.objectives.without_a_reference import CPO, ORPO, REWARD, SIMPO_OBJECTIVE
from advisor.domain.request.vocabulary import Objective
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, UnknownName

SFT = TrainingObjective(name="sft", says="supervised fine-tuning: next tokens, targets or classes")


@cache
def objectives() -> tuple[TrainingObjective, ...]:
    """All that have a name here, those that are not priced last."""
    return (SFT, DPO, IPO, KTO, ORPO, CPO, SIMPO_OBJECTIVE, REWARD, GRPO, RLOO, *NOT_PRICED)


def priced_objectives() -> tuple[TrainingObjective, ...]:
    """Those whose step is traced."""
    return tuple(one for one in objectives() if not one.unmodelled)


def find_objective(name: str) -> TrainingObjective:
    """The objective of that name.

    Raises:
        UnknownName: there is none.
        IllegalRecipe: it is known and not priced; says what would work.
    """
    found = next((one for one in objectives() if one.name == name), None)
    if found is None:
        known = [one.name for one in objectives()]
        raise UnknownName.of("objective", name, known, list_with=f"one of {', '.join(known)}")
    if found.unmodelled:
        can = ", ".join(one.name for one in priced_objectives())
        raise IllegalRecipe(
            f"{name} is not priced: {found.unmodelled}",
            hints=[*found.instead, f"objectives that are priced: {can}"],
            objective=name,
        )
    return found


def usual_epochs(objective: Objective) -> tuple[float | None, str]:
    """Epochs of an objective's published runs and the sentence about them; None where the method decides."""
    for setting in find_objective(objective).settings:
        if setting.name == "epochs" and isinstance(setting.value, float):
            return setting.value, f"epochs: {setting.value:g}; {setting.why}"
    return None, ""


def quality_unknown(workload: Workload) -> str:
    """Why no quality is predicted for what is learned; "" for supervised learning, of which the evidence is."""
    if workload.task == "denoising":
        return (
            "one study compares methods on a diffusion model, each in a single run on pictures of one cat: too little "
            "to predict from"
        )
    if workload.objective == "sft":
        return ""
    return f"no study in the catalogue compares methods under {workload.objective}, and what SFT's say is not borrowed"
