"""`import bitsandbytes` on a machine that has none, for as long as a step is traced.

A plan needs no kernel of the library: only which tensors its layers and optimizers make. peft and our own code find
the stand-in under the library's name while `stand_in()` lasts; after that nobody does.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

NAME: Final = "bitsandbytes"


@contextmanager
def stand_in() -> Generator[None]:
    """Within: bitsandbytes, or what stands in for it; nothing changes where it is installed."""
    if NAME in sys.modules or find_spec(NAME) is not None:
        yield
        return
    made = _modules()
    sys.modules.update(made)
    _forget()
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)
        _forget()


def _forget() -> None:
    """What peft found of the library is remembered for good, and true only for as long as the stand-in is there."""
    from peft import import_utils

    import_utils.is_bnb_available.cache_clear()
    import_utils.is_bnb_4bit_available.cache_clear()


@cache
def _modules() -> dict[str, ModuleType]:
    from advisor.assembly.without_bitsandbytes import block_optimizers as optimizers
    from advisor.assembly.without_bitsandbytes import packed_layers as layers

    layers.define_operators()
    optimizers.define_updates()
    held = ("Params4bit", "Int8Params", "Linear4bit", "Linear8bitLt")
    classes = {name: getattr(layers, name) for name in held}
    computed = ("QuantState", "dequantize_4bit", "int8_vectorwise_dequant")
    functions = {name: getattr(layers, name) for name in computed}
    moments = {name: getattr(optimizers, name) for name in ("AdamW", "AdEMAMix", "Lion", "RMSprop")}
    made = {
        f"{NAME}.nn.modules": _module(f"{NAME}.nn.modules", classes),
        f"{NAME}.functional": _module(f"{NAME}.functional", functions),
        f"{NAME}.optim": _module(f"{NAME}.optim", moments),
    }
    made[f"{NAME}.nn"] = _module(f"{NAME}.nn", {**classes, "modules": made[f"{NAME}.nn.modules"]})
    parts = {name: made[f"{NAME}.{name}"] for name in ("nn", "functional", "optim")}
    return {NAME: _module(NAME, {**parts, "stands_in": True}), **made}


def _module(name: str, holds: dict[str, Any]) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, is_package=name in (NAME, f"{NAME}.nn"))
    made.__path__ = []
    vars(made).update(holds)
    return made
