"""Methods of the surveys that advisor places in the taxonomy but cannot train, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.methods.base import Family


@dataclass(frozen=True, slots=True)
class Placed:
    """One method that is named in the literature and not offered here."""

    name: str
    family: Family
    subfamily: str
    paper: str
    why_not: str


_SEARCH = "a search over other methods, not a method of its own: `advisor tune` searches"
_OTHERS = "it combines adapters trained before on other tasks"
_SAME = "covered by another entry"

PLACED: tuple[Placed, ...] = (
    Placed("adapter-fusion", "additive", "adapter composition", "https://arxiv.org/abs/2005.00247", _OTHERS),
    Placed(
        "adapter-lin", "additive", "serial adapter", "https://arxiv.org/abs/2004.03829", f"{_SAME}: adapter-pfeiffer"
    ),
    Placed(
        "adapter-parallel-mh",
        "additive",
        "parallel adapter at attention",
        "https://arxiv.org/abs/2110.04366",
        f"{_SAME}: adapter-parallel with attention = true",
    ),
    Placed(
        "p-tuning-v2",
        "additive",
        "soft prompt in every layer",
        "https://arxiv.org/abs/2110.07602",
        f"{_SAME}: prefix-tuning",
    ),
    Placed(
        "ladder-side-tuning",
        "additive",
        "ladder side network",
        "https://arxiv.org/abs/2206.06522",
        "needs a side network cut from each family by hand; nearest: shadow",
    ),
    Placed(
        "noreft",
        "additive",
        "representation intervention",
        "https://arxiv.org/abs/2404.03592",
        "an ablation of LoReFT; nearest: direft",
    ),
    Placed("learned-adapter", "additive", "architecture-searched adapter", "https://arxiv.org/abs/2403.16187", _SEARCH),
    Placed(
        "spt-prompt",
        "additive",
        "selective prompt tuning",
        "https://arxiv.org/abs/2403.16187",
        "known here only as a baseline; nearest: prefix-tuning",
    ),
    Placed(
        "lt-sft",
        "selective",
        "unstructured mask",
        "https://arxiv.org/abs/2110.07560",
        "trains in full first to choose the mask; nearest: fish-mask",
    ),
    Placed(
        "child-tuning",
        "selective",
        "unstructured mask",
        "https://arxiv.org/abs/2109.05687",
        "masks gradients of full fine-tuning: costs what full does; nearest: fish-mask",
    ),
    Placed(
        "pafi",
        "selective",
        "unstructured mask",
        "https://arxiv.org/abs/2305.16742",
        "nearest: supertuning, which picks by magnitude too",
    ),
    Placed("far", "selective", "structured mask", "https://arxiv.org/abs/2205.01541", "nearest: partial"),
    Placed(
        "spt-selective",
        "selective",
        "sensitivity-aware mask",
        "https://arxiv.org/abs/2303.08566",
        "made for vision; nearest: fish-mask",
    ),
    Placed(
        "intrinsic-said",
        "reparameterised",
        "random subspace",
        "https://arxiv.org/abs/2012.13255",
        "a Fastfood projection of all weights; nearest: unilora",
    ),
    Placed(
        "sora",
        "reparameterised",
        "low-rank, sparse gate",
        "https://arxiv.org/abs/2311.11696",
        "needs a proximal optimizer step; nearest: adalora",
    ),
    Placed(
        "alora-allocation",
        "reparameterised",
        "low-rank, adaptive allocation",
        "https://arxiv.org/abs/2403.16187",
        "prunes between trainings; nearest: adalora. Studies call it alora; advisor's alora is activated LoRA",
    ),
    Placed(
        "salora",
        "reparameterised",
        "low-rank, sparse",
        "https://arxiv.org/abs/2403.16187",
        "known here only as a baseline; nearest: adalora",
    ),
    Placed("adakron", "reparameterised", "Kronecker experts", "", "no public code known here; nearest: compacter"),
    Placed("autopeft", "hybrid", "searched mix", "https://arxiv.org/abs/2301.12132", _SEARCH),
    Placed("noah", "hybrid", "searched mix", "https://arxiv.org/abs/2206.04673", _SEARCH),
    Placed("s4", "hybrid", "searched mix", "https://arxiv.org/abs/2301.01821", _SEARCH),
    Placed("ssp", "hybrid", "structure search", "https://arxiv.org/abs/2206.07382", _SEARCH),
    Placed(
        "prefix-tuning+lora",
        "hybrid",
        "prefix at attention, LoRA at feed-forward",
        "https://arxiv.org/abs/2110.04366",
        "nearest: unipelt, mam",
    ),
    Placed(
        "lora+prompt-tuning", "hybrid", "LoRA and a soft prompt", "https://arxiv.org/abs/2106.09685", "nearest: unipelt"
    ),
)
