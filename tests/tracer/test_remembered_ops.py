"""What is remembered of an op is what running it gives, and nothing is remembered that could differ."""

from __future__ import annotations

import pytest
import torch

from advisor.tracer import meta_outputs as outputs

aten = torch.ops.aten


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_known", {})


def twice(func, *args, **kwargs):
    """The op run, and the op answered from memory; whether it was remembered."""
    key = outputs.key_of(func, args, kwargs)
    first = outputs.run(func, args, kwargs, key)
    return first, outputs.run(func, args, kwargs, key), key in outputs._known


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


@pytest.mark.parametrize(
    ("func", "args", "kwargs"),
    [
        (aten.add.Tensor, (meta(4, 1), meta(3, dtype=torch.bfloat16)), {"alpha": 2}),
        (aten.mm.default, (meta(4, 5), meta(6, 5).t()), {}),
        (aten._to_copy.default, (meta(4, 5),), {"dtype": torch.bfloat16}),
        (aten.cat.default, ([meta(2, 3), meta(4, 3)],), {}),
        (aten.native_dropout.default, (meta(7, 3), 0.1, True), {}),
        (aten.clone.default, (meta(4, 5).t(),), {}),
        (aten.empty_like.default, (meta(1, 5).expand(4, 5),), {}),
        (aten._foreach_norm.Scalar, ([meta(2, 3), meta(4)], 2), {}),
        (aten.sum.dim_IntList, (meta(2, 3, 4), [0, 2], True), {}),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_remembered_op_gives_new_tensors_of_the_same_form(func, args, kwargs) -> None:
    first, second, remembered = twice(func, *args, **kwargs)
    assert remembered
    firsts, seconds = ([one] if isinstance(one, torch.Tensor) else list(one) for one in (first, second))
    assert type(first) is type(second)
    assert len(firsts) == len(seconds)
    for a, b in zip(firsts, seconds, strict=True):
        assert (a.shape, a.stride(), a.dtype, a.device) == (b.shape, b.stride(), b.dtype, b.device)
        assert a.untyped_storage().nbytes() == b.untyped_storage().nbytes()
        assert a.untyped_storage()._cdata != b.untyped_storage()._cdata


def test_an_op_in_place_gives_back_its_own_argument() -> None:
    tensor = meta(3, 4)
    first, second, remembered = twice(aten.mul_.Tensor, tensor, meta(4))
    assert remembered
    assert first is tensor
    assert second is tensor


def test_an_op_on_a_list_in_place_gives_nothing_back() -> None:
    _, second, remembered = twice(aten._foreach_mul_.Scalar, [meta(3), meta(4)], 2.0)
    assert remembered
    assert second is None


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.view.default, (meta(3, 4), [12])),
        (aten.t.default, (meta(3, 4),)),
        (aten.add.Tensor, (torch.ones(3), torch.ones(3))),
    ],
    ids=["view", "t", "cpu"],
)
def test_views_and_real_values_are_never_remembered(func, args) -> None:
    _, _, remembered = twice(func, *args)
    assert not remembered


@pytest.mark.parametrize(
    ("func", "args", "form"),
    [
        (aten.unsqueeze_.default, [0], (1, 3, 4)),
        (aten.squeeze_.default, [], (3, 4)),
        (aten.t_.default, [], (4, 3)),
        (aten.transpose_.default, [0, 1], (4, 3)),
        (aten.as_strided_.default, [[2, 2], [1, 1]], (2, 2)),
        (aten.resize_.default, [[2, 2]], (2, 2)),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_an_op_that_gives_its_argument_another_form_does_so_each_time(func, args, form) -> None:
    for _ in range(3):
        tensor = meta(3, 4) if func is not aten.squeeze_.default else meta(3, 1, 4)
        outputs.run(func, (tensor, *args), {}, outputs.key_of(func, (tensor, *args), {}))
        assert tensor.shape == form


def test_real_values_are_worked_out_each_time() -> None:
    one, two = torch.ones(2), torch.full((2,), 5.0)
    key = outputs.key_of(aten.add.Tensor, (one, one), {})
    assert key == outputs.key_of(aten.add.Tensor, (two, two), {})
    assert outputs.run(aten.add.Tensor, (one, one), {}, key).tolist() == [2.0, 2.0]
    assert outputs.run(aten.add.Tensor, (two, two), {}, key).tolist() == [10.0, 10.0]


def test_equal_numbers_of_other_types_are_other_arguments() -> None:
    whole, broken, true = (outputs.key_of(aten.add.Scalar, (meta(3), one), {}) for one in (1, 1.0, True))
    assert len({whole, broken, true}) == 3


@pytest.mark.parametrize(
    "other",
    [meta(4, 3).t(), meta(3, 4, dtype=torch.float16), meta(3, 1).expand(3, 4), meta(12)],
    ids=["stride", "dtype", "expanded", "shape"],
)
def test_another_form_is_another_key(other: torch.Tensor) -> None:
    mine = outputs.key_of(aten.neg.default, (meta(3, 4),), {})
    assert mine != outputs.key_of(aten.neg.default, (other,), {})


def test_what_cannot_be_described_has_no_key() -> None:
    assert outputs.key_of(aten.neg.default, (object(),), {}) is None
    assert outputs.key_of(aten.neg.default, (torch.eye(2).to_sparse(),), {}) is None
