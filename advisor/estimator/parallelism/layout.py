"""What a data-parallel strategy keeps whole, shards and copies on each rank, as its library does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RankLayout:
    """One strategy over `shards` ranks, as bytes on a rank follow from it.

    `weights`, `gradients`, `states`: whether each is sharded.
    `gathered_apart`: an all-gather's output is a buffer beside the weights that are copied out of it (FSDP2).
    `reshard`: gathered layers go after their forward pass. `whole_root`: what lies outside layers is one unit that
    stays gathered from the first forward to the last backward op (FSDP1); else the embedding is a unit of its own and
    the last norm and the head another, that alone stays (accelerate 1.15 with FSDP2).
    `reduces_each`: gradients are reduced after each micro-batch; else whole ones pile up until the last.
    `trained_scale`: bytes of a trained weight (and its gradient, once reduced) over those it has in the trace.
    `state_scale`: the same of the optimizer's state. `reduce_scale`: of a gradient on the wire.
    `keeps_input`: a reduction's input lives until the next one (FSDP2).
    `master`: bytes of a separate master copy, over those of the trained weights in the trace (DeepSpeed).
    `copies_gradients`: buckets are a second copy of all gradients (DDP); `bucket_bytes`: they are so large (DeepSpeed).
    `parts_whole`: what goes with a quantised weight, its scales and codes, lies outside the parameter and stays whole.
    """

    shards: int
    weights: bool = False
    gradients: bool = False
    states: bool = False
    gathered_apart: bool = False
    reshard: bool = True
    whole_root: bool = True
    reduces_each: bool = True
    keeps_input: bool = False
    trained_scale: float = 1.0
    state_scale: float = 1.0
    reduce_scale: float = 1.0
    master: float = 0.0
    copies_gradients: bool = False
    bucket_bytes: int = 0
    parts_whole: bool = False
