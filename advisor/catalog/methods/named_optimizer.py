"""The optimizer asked for beside a method: some optimizers make another method of it."""

from __future__ import annotations

from advisor.catalog.methods.method import Method
from advisor.catalog.methods.registry import methods
from advisor.errors import IllegalRecipe


def with_optimizer(method: Method, asked: str | None, configured: bool) -> tuple[Method, str]:
    """A method and its optimizer's name: LoRA with the optimizer `lora-fa` or `lora+` is the method of that name.

    Raises:
        IllegalRecipe: an optimizer of another method, or another than the one the method is defined by.
    """
    if asked is None:
        return method, method.optimizer or "adamw_torch"

    def bare(name: str) -> str:
        return name.lower().replace("+", "plus").replace("-", "").replace("_", "")

    for other in methods():
        if not other.optimizer or bare(other.optimizer) != bare(asked):
            continue
        plain = "lora" if other.peft_type else "full"
        if method.name in (plain, other.name) or (configured and other.peft_type == method.peft_type):
            return other, other.optimizer
        raise IllegalRecipe(
            f"the optimizer {asked} is what makes {plain} the method {other.name}; {method.name} cannot take it",
            hints=[f"nearest legal choice: --method {other.name}", "or leave --optimizer out"],
            method=method.name,
            optimizer=asked,
        )
    if method.optimizer and not bare(asked).startswith("adamwtorch"):
        raise IllegalRecipe(
            f"{method.name} is defined by its own optimizer, a form of AdamW, and {asked} is another",
            hints=["nearest legal choice: leave --optimizer out"],
            method=method.name,
            optimizer=asked,
        )
    return method, method.optimizer or asked
