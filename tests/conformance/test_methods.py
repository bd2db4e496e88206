"""Every method is asked the same questions on tiny models of every kind, or says why it cannot answer."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advisor.assembly.adapters.module_search import linears
from advisor.assembly.adapters.serialization import merge_adapter
from advisor.assembly.attach import attach
from advisor.assembly.optimizers import make_optimizer
from advisor.assembly.parameter_count import trainable_parameters
from advisor.catalog.methods import methods
from advisor.catalog.methods.method import Method
from advisor.errors import IllegalRecipe
from tests.conformance.tiny import (
    DECODER,
    ENCODER,
    ENCODER_DECODER,
    LENGTH,
    MIXTURE,
    TINY,
    TRANSPOSED,
    Tiny,
    recipe_of,
    small_options,
)
from tests.selection import one_in

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
METHODS = {m.name: m for m in methods()}
EVERY_METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
EVERY_TINY = pytest.mark.parametrize(
    "tiny",
    [
        *(pytest.param(tiny, id=tiny.name) for tiny in (DECODER, ENCODER)),
        *(pytest.param(tiny, id=tiny.name, marks=pytest.mark.exhaustive) for tiny in (ENCODER_DECODER, MIXTURE)),
    ],
)

NEEDS_GPU_TO_START = {"loftq": "peft quantises on the GPU while it initialises"}
IDLE = {"shadow": "shadow_update_"}
"""Parameters that are trainable but that no gradient reaches, by part of their name: peft's own doing."""
HOST = {"boft": "boft_P", "frod": "frod_"}
"""Tensors that real runs keep on the CPU."""
STEPS, LEAST_FALL = 24, 1e-4
"""Least relative fall of the loss in so many steps: at a tenth of the default rate, many methods here fall by less."""


def attached(
    method: Method, tiny: Tiny, device: str = "cpu", dtype: torch.dtype = torch.float32, **changes: Any
) -> nn.Module:
    """The method on a tiny model, or a skip with the reason it gives for refusing; only declared reasons skip."""
    if device == "cpu" and method.name in NEEDS_GPU_TO_START and not torch.cuda.is_available():
        pytest.skip(NEEDS_GPU_TO_START[method.name])
    torch.manual_seed(7)
    try:
        return attach(tiny.fresh(device, dtype), tiny.spec, tiny.workload, recipe_of(method, **changes))
    except IllegalRecipe as refused:
        if declared(method, tiny, refused):
            pytest.skip(f"declared: {refused.message}")
        raise


def declared(method: Method, tiny: Tiny, refused: IllegalRecipe) -> bool:
    if method.cannot or tiny.architecture not in method.architectures or tiny.task not in method.tasks:
        return True
    if method.refuse is not None and method.refuse(tiny.spec, recipe_of(method), tiny.task):
        return True
    if tiny.name == TRANSPOSED.name and not method.transposed:
        return True
    if "which the installed transformers calls cache" in refused.message:
        # peft 0.21.2 beside transformers 5.24; not with the release that constraints.txt names
        return f"transformers=={version('transformers')}\n" not in CONSTRAINTS.read_text(encoding="utf-8")
    # the T5 and GPT-2 families tie their output layer to the embeddings
    return method.name == "linear-probe" and tiny in (ENCODER_DECODER, TRANSPOSED)


def output(model: nn.Module, tiny: Tiny) -> torch.Tensor:
    torch.manual_seed(3)
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(**tiny.batch(5)).logits
    # a prompt's own positions come first
    return logits[:, -LENGTH:] if logits.dim() == 3 else logits


def stir(model: nn.Module) -> None:
    """Move every trained parameter a little, as training would."""
    made = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=made, dtype=parameter.dtype)


@EVERY_TINY
@EVERY_METHOD
def test_a_meta_model_gets_the_very_tensors_a_real_one_gets(method: Method, tiny: Tiny) -> None:
    def facts(model: nn.Module) -> dict[str, Any]:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        return {name: (tuple(t.shape), t.dtype, t.requires_grad) for name, t in tensors}

    empty = attached(method, tiny, "meta", torch.bfloat16)
    real = attached(method, tiny, "cpu", torch.bfloat16)
    if method.name == "adamss":
        # K-means decides how a layer's rows share out over its B matrices, not how many there are
        assert facts(empty).keys() == facts(real).keys()
    else:
        assert facts(empty) == facts(real)
    assert trainable_parameters(empty) == trainable_parameters(real) > 0
    off_device = [n for n, t in [*empty.named_parameters(), *empty.named_buffers()] if t.device.type != "meta"]
    assert all(method.name in HOST and HOST[method.name] in name for name in off_device)
    assert bool(off_device) == (method.name in HOST)


@EVERY_TINY
@EVERY_METHOD
def test_one_step_moves_only_what_the_method_trains_and_all_of_it(method: Method, tiny: Tiny) -> None:
    model = attached(method, tiny).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        model(**tiny.batch(step)).loss.backward()
        optimizer.step()
        if step == 0:
            unreached = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert all(method.name in IDLE and IDLE[method.name] in name for name in unreached), unreached
            optimizer.zero_grad()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert moved <= trained, f"moved although frozen: {sorted(moved - trained)[:3]}"
    assert moved, "nothing moved"


@EVERY_TINY
@EVERY_METHOD
def test_the_model_starts_as_it_was_where_the_method_promises(method: Method, tiny: Tiny) -> None:
    model = attached(method, tiny)
    change = (output(model, tiny) - output(tiny.fresh(), tiny)).abs().max().item()
    if method.identity_at_start:
        # SVD and QR starts split the weight in two and add it up again in float32
        assert change < 2e-3
    else:
        assert change > 0, "it starts as the base model: say identity_at_start=True"


@EVERY_METHOD
def test_merging_keeps_the_output_or_is_refused(method: Method) -> None:
    tiny = home(method)
    model = attached(method, tiny)
    stir(model)
    expected = output(model, tiny)
    if not method.mergeable:
        with pytest.raises(IllegalRecipe):
            merge_adapter(model)
        return
    merged = merge_adapter(model)
    assert torch.allclose(output(merged, tiny), expected, atol=2e-3, rtol=1e-3)
    assert {n for n, _ in merged.named_parameters() if "." in n and "bias" not in n} <= {
        n for n, _ in tiny.fresh().named_parameters()
    }, "parameters of the adapter are left"


@EVERY_METHOD
def test_gradients_are_the_same_under_checkpointing_or_it_is_refused(method: Method) -> None:
    tiny = home(method)
    if not method.checkpointing:
        with pytest.raises(IllegalRecipe, match="checkpointing"):
            attach(tiny.fresh(), tiny.spec, tiny.workload, recipe_of(method, gradient_checkpointing=True))
        return
    gradients = []
    for checkpointing in (False, True):
        model = attached(method, tiny, gradient_checkpointing=checkpointing).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        torch.manual_seed(5)
        model(**tiny.batch(1)).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    for name in plain:
        assert torch.allclose(plain[name], checkpointed[name], atol=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("method", one_in(6, [pytest.param(m, id=m.name) for m in METHODS.values()]))
def test_the_loss_falls_at_the_default_rate(method: Method) -> None:
    tiny = home(method)
    recipe = recipe_of(method, learning_rate=method.learning_rate.default)
    model = attached(method, tiny, learning_rate=method.learning_rate.default).train()
    optimizer = make_optimizer(model, recipe, method.optimizer)

    def mean_loss() -> float:
        """Over a third of the batches trained on: batches differ by more than some methods learn in so few steps."""
        with torch.no_grad():
            return sum(model(**tiny.batch(1000 + step)).loss.item() for step in range(0, STEPS, 3))

    first = mean_loss()
    for step in range(STEPS):
        model(**tiny.batch(1000 + step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    last = mean_loss()
    assert last < first * (1 - LEAST_FALL), (
        f"{first:.3f} to {last:.3f} in {STEPS} steps at {method.learning_rate.default:g}"
    )


def home(method: Method) -> Tiny:
    """The kind of tiny model the method is asked the costly questions on."""
    return DECODER if "decoder" in method.architectures else ENCODER_DECODER


@EVERY_METHOD
def test_methods_refuse_what_they_do_not_claim(method: Method) -> None:
    for tiny in TINY.values():
        if tiny.architecture in method.architectures and tiny.task in method.tasks and not method.cannot:
            continue
        with pytest.raises(IllegalRecipe) as refused:
            attach(tiny.fresh("meta"), tiny.spec, tiny.workload, recipe_of(method))
        assert method.name in refused.value.message


@EVERY_METHOD
def test_transposed_layers_work_or_are_refused_by_name(method: Method) -> None:
    model = attached(method, TRANSPOSED).train()
    model(**TRANSPOSED.batch(0)).loss.backward()
    assert any(p.grad is not None for p in model.parameters())


def quantised(tiny: Tiny, base: str) -> nn.Module:
    """The tiny model with bitsandbytes' own layers in its blocks."""
    bnb = pytest.importorskip("bitsandbytes")
    model = tiny.fresh()
    for path in linears(model):
        parent, _, name = path.rpartition(".")
        old: Any = model.get_submodule(path)
        bias = old.bias is not None
        if base == "nf4":
            new = bnb.nn.Linear4bit(old.in_features, old.out_features, bias=bias, quant_type="nf4")
            new.weight = bnb.nn.Params4bit(old.weight.data, requires_grad=False, quant_type="nf4")
        else:
            new = bnb.nn.Linear8bitLt(old.in_features, old.out_features, bias=bias, has_fp16_weights=False)
            new.weight = bnb.nn.Int8Params(old.weight.data, requires_grad=False, has_fp16_weights=False)
        if bias:
            new.bias = old.bias
        setattr(model.get_submodule(parent), name, new)
    return model.to("cpu")


@pytest.mark.parametrize("base", ["nf4", "int8"])
@EVERY_METHOD
def test_quantised_bases_are_adapted_or_refused(method: Method, base: str) -> None:
    if method.cannot or "decoder" not in method.architectures:
        pytest.skip("declared: not for this model")
    recipe = recipe_of(method).model_copy(update={"base": base})
    model = quantised(DECODER, base)
    if base not in method.bases:
        with pytest.raises(IllegalRecipe, match=base):
            attach(model, DECODER.spec, DECODER.workload, recipe)
        return
    torch.manual_seed(7)
    on_quantised = attach(model, DECODER.spec, DECODER.workload, recipe)
    trained = [p for p in on_quantised.parameters() if p.requires_grad]
    assert trained
    assert all(p.dtype.is_floating_point for p in trained)
    if "dtype" in method.bases:
        plain = attach(DECODER.fresh(), DECODER.spec, DECODER.workload, recipe_of(method))
        assert trainable_parameters(on_quantised) == trainable_parameters(plain)


def test_small_options_are_options_the_method_has() -> None:
    for method in METHODS.values():
        assert set(small_options(method)) <= set(method.options)
