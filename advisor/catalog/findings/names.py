"""What studies call a method, what we call it, and which methods learn alike.

A kind groups methods that share their mechanism, so that one without findings leans on its like and on
nothing else. Kinds are ours; families (additive, selective, ...) are those of the method catalogue.
"""

from __future__ import annotations

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
        llama-adapter spt""",
    "adapter": """adapter-houlsby adapter-pfeiffer adapter-series adapter-parallel adapter-drop adapter-fusion
        adapter-lin adapter-scaled-parallel adapter-parallel-mh compacter compacter-plus-plus krona adakron
        learned-adapter lst llm-adapters""",
    "low rank": """lora qlora dora rslora lora-plus lora-fa pissa olora eva corda lora-ga loftq mica velora kasa
        monteclora bdlora adalora dylora sora salora alora miss delora gralora hira lily deft glora loha lokr
        randlora xlora poly peanut supertuning adamss""",
    "shared basis": "vera pvera nola vblora unilora tinylora fourierft waveft c3a intrinsic-said",
    "orthogonal": "oft boft qoft hra psoft road frod svft",
    "scaling": "ia3 ssf",
    "bias or norm": "bitfit beft layernorm-tuning",
    "partial": "top-layers linear-probe trainable-tokens xattn-tuning far osf galore apollo",
    "mask": "fishmask diff-pruning lt-sft child-tuning pafi spt-selective shira",
    "intervention": "loreft direft noreft red",
    "hybrid": "mam-adapter unipelt autopeft noah s4 ssp lora-prefix-tuning prefix-tuning-lora lora-prompt-tuning",
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
    "compacter++": "compacter-plus-plus",
    "compacter-plus": "compacter-plus-plus",
    "compacterpp": "compacter-plus-plus",
    "lora+": "lora-plus",
    "loraplus": "lora-plus",
    "lora-mica": "mica",
    "lora+prefix-tuning": "lora-prefix-tuning",
    "prefix-tuning+lora": "prefix-tuning-lora",
    "lora+prompt-tuning": "lora-prompt-tuning",
    "adapter-prompt-llama": "llama-adapter",
    "adaption-prompt": "llama-adapter",
    "top2-layers": "top-layers",
    "partial-k-layers": "top-layers",
    "last-layers": "top-layers",
    "freeze": "top-layers",
    "head-only": "linear-probe",
    "mam": "mam-adapter",
    "houlsby": "adapter-houlsby",
    "pfeiffer": "adapter-pfeiffer",
    "adapter": "adapter-houlsby",
    "adapter-drop-layers": "adapter-drop",
    "adapterdrop": "adapter-drop",
    "bd-lora": "bdlora",
    "lora-bd": "bdlora",
    "prompt": "prompt-tuning",
    "prefix": "prefix-tuning",
    "ptuning": "p-tuning",
    "bone": "miss",
    "fourier-ft": "fourierft",
    "fish-mask": "fishmask",
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
