"""How long a training must be for its settings to hold, and what changes where it cannot be that long.

Published rates and batches were found in trainings that converged. Where somebody asks for fewer steps than the
method needs, the same settings leave it where it began: a fresh head has not even left the majority class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from advisor.catalog.methods import find_method, options_of
from advisor.catalog.methods.method import Method
from advisor.domain.recommendation import Setting
from advisor.domain.units import plural
from advisor.domain.workload import Workload
from advisor.literature.hyperparameters.steps_to_converge import fewest_steps
from advisor.literature.hyperparameters.suggest import task_class

STEPS_TO_CONVERGE: Final = 1000
"""Optimizer steps where nobody said how many a method needs: what most got that were tuned on small data."""
USUAL_BATCH: Final = 16
SMALLEST_BATCH: Final = 4
"""Rows; below, a step's fixed costs outweigh its rows on every device, and gradients are mostly noise."""
HIGHEST_RANK: Final = 64
"""Up to which a short training raises the rank: 8 to 64 end alike where trainings converge (QLoRA, section 4)."""
MOST: Final = 4.0
"""The rate is never raised by more: beyond, the published rate says nothing of this training."""
RAISED_WARM_UP: Final = 0.1
"""Share of a training with raised settings that warms up: without, encoders on few rows often end at one class
(arXiv:2006.04884, which takes a tenth)."""
SCHEDULES: Final = ("cosine", "linear", "constant", "constant_with_warmup")
"""Schedules that transformers' Trainer takes without further arguments."""
UNDECAYED: Final = "constant_with_warmup"
"""Schedule of a short training: one that decays goes half as far in the same steps (benchmarks/short_trainings.py)."""
UNDECAYED_GAIN: Final = 2.0
"""How much farther an undecayed rate goes than one that falls to nothing: a cosine's and a line's mean is a half.
Less than that lacking is no lack: what is published of the steps a method needs is no surer either."""
HIGHEST_HEAD_RATE: Final = 2e-2
"""Of a new head, the largest published (FourierFT, VB-LoRA on GLUE); a rate for many classes is not raised beyond."""
LEAST_BESIDE: Final = 0.5
"""Share of its published rate that an adapter keeps at least beside a head that learns many classes."""
FEW_SHOT_CLASSES: Final = 3
"""Of the few-shot tasks that steps were counted on: two to four (arXiv:2205.05638, section 3)."""


def training_fields(method: Method, known: Mapping[str, Setting]) -> dict[str, Any]:
    """Fields of a recipe as published, the catalogue's rate else: learning rates, schedule, warm-up, weight decay."""
    fields: dict[str, Any] = {}
    rate = known["learning_rate"].value if "learning_rate" in known else method.learning_rate.default
    if isinstance(rate, (int, float)) and rate > 0:
        fields["learning_rate"] = float(rate)
    heads = known["head_learning_rate"].value if "head_learning_rate" in known else None
    if isinstance(heads, (int, float)) and heads > 0:
        fields["head_learning_rate"] = float(heads)
    for name in ("warmup_ratio", "weight_decay"):
        value = known[name].value if name in known else None
        # below this it moves no weight by a bf16 step, and the optimizer's step would be another one
        if isinstance(value, (int, float)) and (value >= 1e-4 or name == "warmup_ratio"):
            fields[name] = float(value)
    if "schedule" in known and known["schedule"].value in SCHEDULES:
        fields["schedule"] = known["schedule"].value
    return fields


def converging_epochs(method: str, workload: Workload, published: Sequence[Setting]) -> tuple[float, str]:
    """Epochs where nobody says: the usual ones, or as many as the method needs, within what was published for it."""
    said = next((s for s in published if s.name == "epochs"), None)
    if said is None or not isinstance(said.value, (int, float)) or workload.samples is None:
        return workload.epochs, ""
    a_step = -(-workload.samples // workload.effective_batch_size)
    needed = steps_needed(method, workload) or STEPS_TO_CONVERGE
    low, high = said.low or said.value, said.high or said.value
    wanted = max(workload.epochs, float(round(needed / a_step)))
    epochs = min(max(wanted, low), high)
    if epochs == workload.epochs:
        return epochs, ""
    why = f", as {method} needs about {needed:,} to converge" if workload.epochs < epochs <= wanted else ""
    steps = workload.model_copy(update={"epochs": epochs}).optimizer_steps()
    return epochs, (
        f"epochs: {epochs:g}, {plural(steps or 0, 'step')}{why}; published are {low:g} to {high:g} on such data"
    )


def converging_batch(method: str, workload: Workload) -> tuple[int, str]:
    """The effective batch where nobody says: halved until the asked length gives the steps the method needs.

    So too where it needs so many samples rather than steps. Under Adam a larger batch learns as much from the same
    samples only at a rate larger by the root of how much larger it is (arXiv:2205.10287), which raises the risk of
    coming to nothing; at the same rate smaller batches learn more from them.
    """
    at, batch = workload.effective_batch_size, workload.effective_batch_size
    while shortfall(method, _at(workload, batch)) > 1 and batch // 2 >= SMALLEST_BATCH:
        batch //= 2
    if batch == at:
        return at, ""
    smaller = _at(workload, batch)
    few, more, needed = workload.optimizer_steps(), smaller.optimizer_steps(), steps_needed(method, smaller)
    return batch, (
        f"effective batch: {batch}, which in {plural(workload.epochs, 'epoch')} gives {plural(more or 0, 'step')} "
        f"where {at} gives {few}; {method} needs about {needed:,} to converge"
    )


def _at(workload: Workload, batch: int) -> Workload:
    return workload.model_copy(update={"effective_batch_size": batch})


def shortfall(method: str, workload: Workload) -> float:
    """How many times fewer steps a training has than its method needs; 1 for one that is long enough."""
    needed, steps = steps_needed(method, workload), workload.optimizer_steps()
    return 1.0 if needed is None or steps is None else max(1.0, needed / steps)


def too_short(method: str, workload: Workload, *, own_head: bool = False) -> bool:
    """Whether the published settings would leave the method well short of what it can learn."""
    return _lacking(method, workload, own_head) >= UNDECAYED_GAIN


def _lacking(method: str, workload: Workload, own_head: bool) -> float:
    """The shortfall; a choice among many classes takes more, unless the head that learns them has its own rate."""
    short = shortfall(method, workload)
    return short * _choices(workload) if short > 1 and not own_head else short


def quickened(
    method: str,
    rate: float,
    rank: int | None,
    workload: Workload,
    widest: int | None = None,
    *,
    own_head: bool = False,
) -> tuple[float, int | None]:
    """A published rate and rank for a training of this length: what makes up for missing steps.

    Under Adam a weight moves by about one rate a step, and a low-rank update, whose alpha keeps its proportion to
    the rank, by rank times rate: the same way in fewer steps takes as many times more of either. The rank comes
    first, since in the end it makes no difference, where a large rate can undo the training: a raised one often
    leaves a small encoder at one class. What the rank cannot make up the rate does, within the method's range.
    Of what lacks, the rate that does not decay makes up a part. No rank above `widest` is given.
    """
    lacking = max(1.0, _lacking(method, workload, own_head) / UNDECAYED_GAIN)
    most = min(HIGHEST_RANK, widest or HIGHEST_RANK)
    if rank is not None and rank < most:
        wider = min(most, rank * 2 ** math.ceil(math.log2(lacking)))
        lacking, rank = max(1.0, lacking * rank / wider), wider
    high = find_method(method).learning_rate.high
    raised = rate * min(MOST, lacking)
    return (max(rate, min(raised, high)) if high is not None else raised), rank


def _choices(workload: Workload) -> float:
    """How many times the bits of a choice among the workload's classes are those of the few-shot tasks'; at least 1."""
    if workload.task != "sequence-classification":
        return 1.0
    return max(1.0, math.log(workload.num_labels) / math.log(FEW_SHOT_CLASSES))


def fields_for_short_training(
    method: Method, fields: Mapping[str, Any], options: Mapping[str, Any], workload: Workload, widest: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a recipe and options of its method for a training of this length; as given where it is long enough.

    Args:
        fields: `learning_rate`, `warmup_ratio` ... as published.
        options: the method's own, as far as they differ from its defaults.
        widest: the rank is not raised above it (the model's hidden size).
    """
    fields, options = dict(fields), dict(options)
    rate = fields.get("learning_rate")
    own_head = fields.get("head_learning_rate") is not None
    if rate is None or not too_short(method.name, workload, own_head=own_head):
        return fields, options
    fields["learning_rate"], rank = quickened(
        method.name, rate, scaled_rank(method, options), workload, widest, own_head=own_head
    )
    if rank is not None:
        options = with_rank(method, options, rank)
    if own_head:
        fields |= _for_many_classes(fields, workload)
    fields["warmup_ratio"] = max(fields.get("warmup_ratio", 0.0), RAISED_WARM_UP)
    fields["schedule"] = UNDECAYED
    return fields, options


def _for_many_classes(fields: Mapping[str, Any], workload: Workload) -> dict[str, float]:
    """Rates of a short training whose new head must tell apart more classes than heads' rates were published for.

    Each class is told from fewer of the rows, so the head must go farther a row. Of nineteen classes and 100 rows the
    best fifteen of 136 random trials all drew a head's rate of 1.2e-2 or more; of two classes the best lie between
    2e-4 and 4e-2 (benchmarks/results/tune_search.json). The adapter, which sees that head move, keeps less of its own
    rate. Both together gain 1.8 points of five classes, nothing of ten, 0.8 of nineteen at 100 rows and 2.9 at 1,000
    (short_trainings.json, means of three to five seeds).
    """
    more, head = _choices(workload), fields["head_learning_rate"]
    return {
        "head_learning_rate": max(head, min(head * more, HIGHEST_HEAD_RATE)),
        "learning_rate": fields["learning_rate"] * max(LEAST_BESIDE, 1 / more),
    }


def scaled_rank(method: Method, options: Mapping[str, Any]) -> int | None:
    """The rank of a method whose alpha follows it; None for any other."""
    if not {"rank", "alpha"} <= method.options.keys():
        return None
    rank = options_of(method, options)["rank"]
    return rank if isinstance(rank, int) and rank >= 1 else None


def with_rank(method: Method, options: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """The options at another rank, alpha in its proportion to it."""
    known = options_of(method, options)
    if rank == known["rank"]:
        return dict(options)
    return {**options, "rank": rank, "alpha": max(1, round(known["alpha"] * rank / known["rank"]))}


def steps_needed(method: str, workload: Workload) -> int | None:
    """Optimizer steps that the method needs on such a task at this batch; None where nobody measured any."""
    kind = "understanding" if workload.task == "sequence-classification" else task_class(workload.task_type)
    least = fewest_steps(method, kind, workload.effective_batch_size)
    return least.value if least is not None and isinstance(least.value, int) else None
