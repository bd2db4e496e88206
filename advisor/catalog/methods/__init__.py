"""The fine-tuning methods: one file each, named in MODULES; `methods()` lists them, `find_method()` finds one."""

from advisor.catalog.methods.batching_rules import batching_warning
from advisor.catalog.methods.registry import (
    MODULES,
    check_recipe,
    find_method,
    installed_peft_types,
    longest,
    method_for_adapter_config,
    methods,
    options_of,
    prompt_length,
)

__all__ = [
    "MODULES",
    "batching_warning",
    "check_recipe",
    "find_method",
    "installed_peft_types",
    "longest",
    "method_for_adapter_config",
    "methods",
    "options_of",
    "prompt_length",
]
