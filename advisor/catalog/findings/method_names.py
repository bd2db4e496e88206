"""What studies call a method, what we call it, and which methods learn alike.

A kind groups methods that share their mechanism, so that one without findings leans on its like and on
nothing else. Kinds are ours; families (additive, selective, ...) are those of the method catalogue.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, Literal, get_args

from advisor.errors import UnknownName

Kind = Literal[
    "full",
    "none",
    "soft prompt",
    "adapter",
    "low rank",
    "shared basis",
    "orthogonal",
    "scaling",
    "bias or norm",
    "partial",
    "mask",
    "intervention",
    "hybrid",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_METHODS: Final[dict[Kind, str]] = {
    "full": "full",
    "none": "no-tuning",
    "soft prompt": """prompt-tuning prefix-tuning p-tuning p-tuning-v2 multitask-prompt-tuning cpt cartridge
        llama-adapter spt vpt-deep vpt-shallow""",
    "adapter": """adapter-houlsby adapter-pfeiffer adapter-series adapter-parallel adapter-drop adapter-fusion
        adapter-lin adapter-scaled-parallel adapter-parallel-mh compacter compacter-plus krona adakron
        learned-adapter lst llm-adapters convpass repadapter dtl hst last sct snf""",
    "low rank": """lora qlora dora rslora lora-plus lora-fa pissa olora eva corda lora-ga loftq mica velora kasa
        monteclora lora-xs lora-sb lora-pro flat-lora mora melora rasa qdora bd-lora lora-orthogonal adalora dylora
        sora salora alora miss delora gralora hira lily deft glora loha lokr randlora xlora poly peanut supertuning
        adamss hydra milora init-ab keeplora""",
    "shared basis": "vera pvera nola tied-lora vblora unilora tinylora fourierft waveft c3a intrinsic-said fact",
    "orthogonal": "oft boft qoft hra psoft road frod svft ssvd goft qgoft ether ether-plus clover",
    "scaling": "ia3 ssf",
    "bias or norm": "bitfit beft layernorm-tuning difffit",
    "partial": """partial linear-probe trainable-tokens embedding-tuning cross-attention-tuning far osf galore q-galore
        apollo shadow""",
    "mask": "fish-mask diff-pruning lt-sft child-tuning pafi spt-selective shira gps",
    "intervention": "loreft direft noreft red",
    "hybrid": "mam unipelt autopeft noah s4 ssp lora-prefix-tuning prefix-tuning-lora lora-prompt-tuning",
}

KIND_OF: Final[dict[str, Kind]] = {name: kind for kind, names in _METHODS.items() for name in names.split()}
"""Our name of every method that a study or the taxonomy names, and its kind."""

_ALIASES: Final[dict[str, str]] = {
    "full-ft": "full",
    "full-finetuning": "full",
    "full-fine-tuning": "full",
    "fine-tuning": "full",
    "ln-tuning": "layernorm-tuning",
    "layernorm": "layernorm-tuning",
    "compacter++": "compacter-plus",
    "compacter-plus-plus": "compacter-plus",
    "lora+": "lora-plus",
    "loraplus": "lora-plus",
    "lora-mica": "mica",
    "lora+prefix-tuning": "lora-prefix-tuning",
    "prefix-tuning+lora": "prefix-tuning-lora",
    "lora+prompt-tuning": "lora-prompt-tuning",
    "adapter-prompt-llama": "llama-adapter",
    "adaption-prompt": "llama-adapter",
    "ft": "full",
    "full-ft+galore": "galore",
    "full-ft+apollo": "apollo",
    "lora+pissa": "pissa",
    "lora+loraplus": "lora-plus",
    "lora-nf4": "qlora",
    "qlora-nf4": "qlora",
    "bn-adapter": "adapter-pfeiffer",
    "fish": "fish-mask",
    "embeddings": "embedding-tuning",
    "xattn-tuning": "cross-attention-tuning",
    "top2-layers": "partial",
    "top-layers": "partial",
    "last-layers": "partial",
    "freeze": "partial",
    "head-only": "linear-probe",
    "mam-adapter": "mam",
    "houlsby": "adapter-houlsby",
    "pfeiffer": "adapter-pfeiffer",
    "adapter": "adapter-houlsby",
    "adapter-drop-layers": "adapter-drop",
    "adapterdrop": "adapter-drop",
    "lora-bd": "bd-lora",
    "prompt": "prompt-tuning",
    "prefix": "prefix-tuning",
    "ptuning": "p-tuning",
    "bone": "miss",
    "fourier-ft": "fourierft",
    "trainable-token": "trainable-tokens",
    "vb-lora": "vblora",
    "uni-lora": "unilora",
    "tiny-lora": "tinylora",
}


@cache
def our_name(name: str) -> str:
    """Our name for a method as a study, the taxonomy, peft or a user writes it.

    Raises:
        UnknownName: nobody has heard of it; the near names are in the error.
    """
    name = re.sub(r"\s+\([^()]*\)$", "", name.strip())
    plain = "-".join(name.strip().lower().replace("_", "-").replace("(", "").replace(")", "").split())
    found = _ALIASES.get(plain, plain)
    if found in KIND_OF:
        return found
    squeezed = {known.replace("-", ""): known for known in (*KIND_OF, *_ALIASES)}
    close = squeezed.get(plain.replace("-", ""))
    if close is None:
        raise UnknownName.of("method", name, [*KIND_OF, *_ALIASES], list_with="advisor methods")
    return _ALIASES.get(close, close)


def kind_of(name: str) -> Kind:
    """The kind of a method under any of its names; raises `UnknownName` as `our_name` does."""
    return KIND_OF[our_name(name)]
