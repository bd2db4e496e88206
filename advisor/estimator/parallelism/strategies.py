"""The strategies that are priced, as their libraries set them up; what is not priced is refused by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from advisor.catalog.methods import find_method
from advisor.catalog.optimizer_names import updates_in_backward
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_mapping
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import SHARDINGS, Sharding
from advisor.errors import BadRequest, IllegalRecipe, UnknownName
from advisor.estimator.parallelism.layout import RankLayout

USUAL: Final[Sharding] = "ddp"
"""What a launcher gives where nobody asks for more: torchrun and accelerate wrap in DistributedDataParallel."""
SPELLINGS: Final[Mapping[str, Sharding]] = {"fsdp": "fsdp2", "fullshard": "fsdp2", "dp": "ddp", "none": "ddp"}
NOT_PRICED: Final = {
    "tp": "tensor parallelism",
    "pp": "pipeline parallelism",
    "cp": "context parallelism",
    "ep": "expert parallelism",
    "sp": "sequence parallelism",
}
OVERLAPPED_BUCKETS: Final = 2
"""DeepSpeed keeps two buckets where it reduces while the backward pass goes on (overlap_comm, its default in ZeRO)."""


def parallelism_of(asked: str | Mapping[str, Any] | None, gpus: int) -> Sharding:
    """The strategy meant by a name, or by an object with `dp`, `tp`, `pp`, `cp`, `ep`, `shard` and `offload`.

    Raises:
        BadRequest: `dp` is not the number of GPUs; a key nobody knows; a strategy on one GPU.
        UnknownName: a strategy nobody has heard of.
        IllegalRecipe: one that is known and not priced.
    """
    if asked is None:
        return USUAL
    if gpus < 2:
        raise BadRequest(
            "--parallelism is about several GPUs, and there is one",
            hints=["to say how many: --gpus 8, or leave --parallelism out"],
            field="parallelism",
        )
    if is_mapping(asked):
        return _of_object({str(key): value for key, value in asked.items()}, gpus)
    return _named(str(asked))


def _of_object(asked: dict[str, Any], gpus: int) -> Sharding:
    unknown = set(asked) - {"dp", *NOT_PRICED, "shard", "offload"}
    if unknown:
        raise BadRequest(
            f"parallelism: unknown key {sorted(unknown)[0]!r}",
            hints=["keys: dp, tp, pp, cp, ep, shard, offload"],
            field="parallelism",
        )
    for key, says in NOT_PRICED.items():
        if asked.get(key) not in (None, 1):
            raise _refused(f"{says} ({key} {asked[key]})")
    if asked.get("offload") not in (None, False, "none", ""):
        raise _refused("offloading to the host")
    if asked.get("dp") not in (None, gpus):
        raise BadRequest(
            f"parallelism: dp {asked['dp']} on {gpus} GPUs leaves some idle", hints=[f"dp is {gpus}"], dp=asked["dp"]
        )
    return _named(str(asked.get("shard") or USUAL))


def _named(name: str) -> Sharding:
    bare = re.sub(r"[\s_+-]", "", name.lower()).removeprefix("deepspeed")
    for known in SHARDINGS:
        if bare == known:
            return known
    if bare in SPELLINGS:
        return SPELLINGS[bare]
    for key, says in NOT_PRICED.items():
        if re.fullmatch(rf"{key}\d*|.*[x,]{key}\d+.*", bare):
            raise _refused(f"{says} ({name})")
    for part, says in (
        ("offload", "offloading to the host"),
        ("hybrid", "hybrid sharding"),
        ("hsdp", "hybrid sharding"),
        ("gradop", "sharding of gradients and optimizer alone under FSDP"),
        ("tensor", NOT_PRICED["tp"]),
        ("pipeline", NOT_PRICED["pp"]),
        ("sequence", NOT_PRICED["sp"]),
        ("ulysses", NOT_PRICED["sp"]),
        ("expert", NOT_PRICED["ep"]),
        ("megatron", "Megatron's parallelism"),
    ):
        if part in bare:
            raise _refused(f"{says} ({name})")
    raise UnknownName.of("parallelism", name, SHARDINGS, list_with="advisor estimate --help")


def _refused(what: str) -> IllegalRecipe:
    return IllegalRecipe(
        f"{what} is not priced: its memory and what it exchanges would be a guess",
        hints=[f"priced are: --parallelism {', '.join(SHARDINGS)}"],
        field="parallelism",
    )


def traced_as(recipe: Recipe, sharding: Sharding) -> Recipe:
    """The recipe whose step a rank runs: where the library casts weights as it gathers them, that of 16-bit weights.

    Raises:
        IllegalRecipe: a base whose weights the strategy cannot shard, an optimizer that no strategy shares.
    """
    if updates_in_backward(recipe.optimizer):
        raise IllegalRecipe(
            f"{recipe.optimizer} on several GPUs: it updates a parameter before ranks have shared its gradient, so "
            "their weights drift apart",
            cause="lomo-optim 0.1.1, fuse_update; accelerate 1.15 never calls it under DeepSpeed",
            hints=["nearest legal choice: one GPU, or --optimizer adafactor"],
            field="parallelism",
        )
    if recipe.base == "int8" and sharding in ("fsdp1", "fsdp2", "zero3"):
        raise IllegalRecipe(
            f"a base in int8 cannot be sharded by {sharding}: its weights are whole numbers beside their scales",
            hints=["nearest legal choice: --base nf4, or --parallelism ddp"],
            field="parallelism",
        )
    if sharding == "ddp" or not recipe.mixed:
        return recipe
    return recipe.model_copy(
        update={"dtype": recipe.compute_dtype, **({"mixed_precision": "no"} if sharding.startswith("zero") else {})}
    )


def layout_of(sharding: Sharding, shards: int, asked: Recipe, traced: Recipe, spec: ModelSpec) -> RankLayout:
    """The strategy's layout, for weights as the trace has them.

    FSDP: parameters that train become float32 under mixed precision and are gathered in 16 bits, reductions too
    (accelerate 1.15, fsdp2_prepare_model and set_mixed_precision). DeepSpeed: 16-bit weights and gradients beside a
    float32 master copy (deepspeed/runtime/zero/stage_1_and_2.py, stage3.py).
    """
    if sharding == "ddp":
        # a copy of all is the same on any number of ranks
        return RankLayout(1, copies_gradients=True)
    width = 4 if traced.dtype == "float32" or not _trains_base(asked.method) else 2
    eight_bit = "8bit" in asked.optimizer
    each = asked.gradient_accumulation == 1
    if sharding in ("fsdp1", "fsdp2"):
        scale = 4 / width if asked.mixed else 1.0
        second = sharding == "fsdp2"
        return RankLayout(
            shards,
            weights=True,
            gradients=True,
            states=True,
            gathered_apart=second,
            whole_root=not second,
            reduces_each=each,
            keeps_input=second,
            trained_scale=scale,
            state_scale=1.0 if eight_bit else scale,
            parts_whole=traced.base != "dtype",
        )
    buckets = OVERLAPPED_BUCKETS * 2 * (spec.hidden or 0) ** 2
    return RankLayout(
        shards,
        weights=sharding == "zero3",
        gradients=sharding != "zero1",
        states=True,
        whole_root=False,
        reduce_scale=0.0,
        state_scale=1.0 if eight_bit else 4 / width,
        master=4 / width,
        bucket_bytes=buckets,
        parts_whole=traced.base != "dtype",
    )


def _trains_base(method: str) -> bool:
    return find_method(method).family in ("full", "selective")
