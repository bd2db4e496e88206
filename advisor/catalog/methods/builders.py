"""What many methods' files share: sources, option makers, and the translation of options into peft's keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd
from typing import TYPE_CHECKING, Any, TypeAlias

from advisor.catalog.methods.method import MethodSource, Option

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.request.vocabulary import Base

PEFT = "https://github.com/huggingface/peft/tree/5d602fdbf"
"""The revision of peft that library defaults and the public comparison's settings were read from."""

UNQUANTISED: frozenset[Base] = frozenset({"dtype"})
QUANTISED: frozenset[Base] = frozenset({"dtype", "int8", "nf4"})

ONE_AT_A_TIME = "one adapter per loaded model; switch by loading another"
SWITCHED = "several adapters on one base, switched per request (peft set_adapter)"
MIXED = "several adapters on one base, mixed within a batch (peft adapter_names)"
LORA_SERVED = "many adapters on one base, batched together (vLLM, SGLang, LoRAX; peft adapter_names)"

LEARNS_LESS_FORGETS_LESS = (
    "forgets less than full fine-tuning at equal gain on the target (arXiv:2405.09673); in peft's comparison rank 32 "
    "lost 0.050 and full fine-tuning 0.030, each at its own learning rate, so the rate matters as much as the method"
)
NOT_STUDIED = "not studied for this method"


def paper(address: str, where: str = "") -> MethodSource:
    """A paper by arXiv number or by address."""
    return MethodSource(
        address=address if address.startswith("http") else f"https://arxiv.org/abs/{address}", where=where
    )


def library(where: str) -> MethodSource:
    """A default read in peft's source: `where` is `file, field`."""
    return MethodSource(address=PEFT, where=f"src/peft/tuners/{where}")


def comparison(run: str) -> MethodSource:
    """A setting as run in peft's public MetaMathQA comparison."""
    return MethodSource(address=PEFT, where=f"method_comparison/MetaMathQA/experiments/{run}")


RATE_RULE = MethodSource(address="https://arxiv.org/abs/2405.09673", where="section 6: alpha = 2 r; all linear layers")
ALL_LAYERS = MethodSource(
    address="https://arxiv.org/abs/2305.14314", where="section 4: all linear layers needed to match full fine-tuning"
)
REPOSITORIES = MethodSource(
    address="https://github.com/axolotl-ai-cloud/axolotl",
    where="median over the example configs of axolotl, LLaMA-Factory, torchtune and litgpt",
)


def rate(
    default: float, source: MethodSource, low: float | None = None, high: float | None = None, says: str = ""
) -> Option:
    """A learning rate, searched in logarithm over a decade to either side unless said otherwise."""
    return Option(default, source, says or "peak learning rate", low or default / 10, high or default * 10, log=True)


def rank(default: int, source: MethodSource, low: int = 1, high: int = 256, says: str = "rank of the update") -> Option:
    return Option(default, source, says, low, high, log=True)


def alpha(default: float | None = None, source: MethodSource = RATE_RULE) -> Option:
    """Scale of the update; None stands for twice the rank."""
    return Option(default, source, "scale of the update (None: twice the rank)", 1, 1024, log=True)


def dropout(default: float, source: MethodSource) -> Option:
    return Option(default, source, "dropout before the adapter", 0.0, 0.5)


def number(default: int | float, source: MethodSource, low: float, high: float, says: str, log: bool = False) -> Option:
    return Option(default, source, says, low, high, log)


def choice(default: str | bool, source: MethodSource, choices: tuple[Any, ...], says: str) -> Option:
    return Option(default, source, says, choices=choices)


def flag(default: bool, source: MethodSource, says: str) -> Option:
    return Option(default, source, says, choices=(False, True))


TARGET_GROUPS = ("all-linear", "attention", "attention-qv", "attention-v", "mlp", "keys-values-mlp")


def targets(default: str | list[str] = "all-linear", source: MethodSource = ALL_LAYERS) -> Option:
    """Which linear layers of the blocks: a group, or a list of module names."""
    says = f"layers adapted: {', '.join(TARGET_GROUPS)}, or a list of module names"
    return Option(default, source, says, choices=TARGET_GROUPS)


Builder: TypeAlias = "Callable[[ModelSpec, Mapping[str, Any]], dict[str, Any]]"

_PEFT_NAMES = {"rank": "r"}


def keywords(renamed: Mapping[str, str] | None = None, **fixed: Any) -> Builder:
    """A `peft_options` that passes every option under peft's name for it, and `fixed` besides.

    `renamed` maps our name to peft's (`rank` is `r` unless said); a name mapped to "" is not passed on.
    """
    names = {**_PEFT_NAMES, **(renamed or {})}

    def build(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
        passed = {names.get(name, name): value for name, value in options.items() if names.get(name, name)}
        return {**passed, **fixed}

    return build


LORA_NAMES = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}


def lora_keywords(**fixed: Any) -> Builder:
    """`keywords` for LoraConfig and its relatives."""
    return keywords(LORA_NAMES, **fixed)


def lora_options(
    *,
    rank_default: int = 16,
    rank_source: MethodSource | None = None,
    alpha_default: float | None = None,
    alpha_source: MethodSource = RATE_RULE,
    **more: Option,
) -> dict[str, Option]:
    """The four options of every LoRA-like method, then `more`."""
    return {
        "rank": rank(rank_default, rank_source or paper("2305.14314", "section 4: rank 8-64 indifferent")),
        "alpha": alpha(alpha_default, alpha_source),
        "dropout": dropout(0.0, library("lora/config.py, lora_dropout")),
        "target_modules": targets(),
        **more,
    }


def spec_widths(spec: ModelSpec) -> list[int]:
    """Widths that the linear layers of the blocks read and write, as far as the definition tells."""
    config = spec.text_config
    hidden, heads = spec.hidden, spec.heads
    head = config.get("head_dim") or config.get("d_kv") or (hidden // heads if hidden and heads else None)
    inner = [config.get(name) for name in ("intermediate_size", "d_ff", "ffn_dim", "n_inner", "encoder_ffn_dim")]
    keys = config.get("num_key_value_heads")
    found = [hidden, *inner, head * heads if head and heads else None, head * keys if head and keys else None]
    return [w for w in found if isinstance(w, int) and w > 0]


def largest_divisor(spec: ModelSpec, limit: int) -> int:
    """The largest number up to `limit` that divides every width of the model's linear layers."""
    known = spec_widths(spec)
    if not known:
        return limit
    common = gcd(*known)
    return max(d for d in range(1, min(limit, common) + 1) if common % d == 0)


def dividing(option: str, limit: int, build: Builder) -> Builder:
    """`build`, an option of None standing for the largest divisor of the model's widths up to `limit`."""

    def divided(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
        chosen = options.get(option)
        return build(spec, {**options, option: largest_divisor(spec, limit) if chosen is None else chosen})

    return divided
