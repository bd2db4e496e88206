"""Methods of the surveys that advisor places in the taxonomy but cannot train, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.domain.request.vocabulary import Family


@dataclass(frozen=True, slots=True)
class LiteratureOnlyMethod:
    """One method that is named in the literature and not offered here."""

    name: str
    family: Family
    subfamily: str
    paper: str
    why_not: str


_SEARCH = "a search over other methods, not a method of its own: `advisor tune` searches"
_OTHERS = "it combines adapters trained before on other tasks"
_SAME = "covered by another entry"

PLACED: tuple[LiteratureOnlyMethod, ...] = (
    LiteratureOnlyMethod(
        "adapter-fusion", "additive", "adapter composition", "https://arxiv.org/abs/2005.00247", _OTHERS
    ),
    LiteratureOnlyMethod(
        "adapter-lin", "additive", "serial adapter", "https://arxiv.org/abs/2004.03829", f"{_SAME}: adapter-pfeiffer"
    ),
    LiteratureOnlyMethod(
        "adapter-parallel-mh",
        "additive",
        "parallel adapter at attention",
        "https://arxiv.org/abs/2110.04366",
        f"{_SAME}: adapter-parallel with attention = true",
    ),
    LiteratureOnlyMethod(
        "p-tuning-v2",
        "additive",
        "soft prompt in every layer",
        "https://arxiv.org/abs/2110.07602",
        f"{_SAME}: prefix-tuning",
    ),
    LiteratureOnlyMethod(
        "ladder-side-tuning",
        "additive",
        "ladder side network",
        "https://arxiv.org/abs/2206.06522",
        "needs a side network cut from each family by hand; nearest: shadow",
    ),
    LiteratureOnlyMethod(
        "noreft",
        "additive",
        "representation intervention",
        "https://arxiv.org/abs/2404.03592",
        "an ablation of LoReFT; nearest: direft",
    ),
    LiteratureOnlyMethod(
        "learned-adapter", "additive", "architecture-searched adapter", "https://arxiv.org/abs/2403.16187", _SEARCH
    ),
    LiteratureOnlyMethod(
        "spt-prompt",
        "additive",
        "selective prompt tuning",
        "https://arxiv.org/abs/2403.16187",
        "known here only as a baseline; nearest: prefix-tuning",
    ),
    LiteratureOnlyMethod(
        "lt-sft",
        "selective",
        "unstructured mask",
        "https://arxiv.org/abs/2110.07560",
        "trains in full first to choose the mask; nearest: fish-mask",
    ),
    LiteratureOnlyMethod(
        "child-tuning",
        "selective",
        "unstructured mask",
        "https://arxiv.org/abs/2109.05687",
        "masks gradients of full fine-tuning: costs what full does; nearest: fish-mask",
    ),
    LiteratureOnlyMethod(
        "pafi",
        "selective",
        "unstructured mask",
        "https://arxiv.org/abs/2305.16742",
        "nearest: supertuning, which picks by magnitude too",
    ),
    LiteratureOnlyMethod("far", "selective", "structured mask", "https://arxiv.org/abs/2205.01541", "nearest: partial"),
    LiteratureOnlyMethod(
        "spt-selective",
        "selective",
        "sensitivity-aware mask",
        "https://arxiv.org/abs/2303.08566",
        "made for vision; nearest: fish-mask",
    ),
    LiteratureOnlyMethod(
        "intrinsic-said",
        "reparameterised",
        "random subspace",
        "https://arxiv.org/abs/2012.13255",
        "a Fastfood projection of all weights; nearest: unilora",
    ),
    LiteratureOnlyMethod(
        "sora",
        "reparameterised",
        "low-rank, sparse gate",
        "https://arxiv.org/abs/2311.11696",
        "needs a proximal optimizer step; nearest: adalora",
    ),
    LiteratureOnlyMethod(
        "alora-allocation",
        "reparameterised",
        "low-rank, adaptive allocation",
        "https://arxiv.org/abs/2403.16187",
        "prunes between trainings; nearest: adalora. Studies call it alora; advisor's alora is activated LoRA",
    ),
    LiteratureOnlyMethod(
        "salora",
        "reparameterised",
        "low-rank, sparse",
        "https://arxiv.org/abs/2403.16187",
        "known here only as a baseline; nearest: adalora",
    ),
    LiteratureOnlyMethod(
        "adakron", "reparameterised", "Kronecker experts", "", "no public code known here; nearest: compacter"
    ),
    LiteratureOnlyMethod("autopeft", "hybrid", "searched mix", "https://arxiv.org/abs/2301.12132", _SEARCH),
    LiteratureOnlyMethod("noah", "hybrid", "searched mix", "https://arxiv.org/abs/2206.04673", _SEARCH),
    LiteratureOnlyMethod("s4", "hybrid", "searched mix", "https://arxiv.org/abs/2301.01821", _SEARCH),
    LiteratureOnlyMethod("ssp", "hybrid", "structure search", "https://arxiv.org/abs/2206.07382", _SEARCH),
    LiteratureOnlyMethod(
        "prefix-tuning+lora",
        "hybrid",
        "prefix at attention, LoRA at feed-forward",
        "https://arxiv.org/abs/2110.04366",
        "nearest: unipelt, mam",
    ),
    LiteratureOnlyMethod(
        "lora+prompt-tuning", "hybrid", "LoRA and a soft prompt", "https://arxiv.org/abs/2106.09685", "nearest: unipelt"
    ),
)
