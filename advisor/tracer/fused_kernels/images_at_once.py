"""The pictures of a batch go through a vision tower in one pass of one form, whatever their number.

transformers reads the sizes of the pictures from tensors, loops over them and takes each one's attention by itself, so
its step has another form at every batch. On meta there are no sizes to read. Here all pictures have one size; what is
made picture by picture is made for all of them in one op of the same bytes and products.

Shapes: N pictures of a batch, P patches of each, H heads.
"""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# transformers and torch say few of their types, and tell of attention only through names they keep to themselves

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from advisor.domain.workload import SampleImages, Workload

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder

APART: Final = "each_image_apart"
"""The name under which transformers finds the attention of a tower whose pictures are one sequence."""


@contextmanager
def images_at_once(model: nn.Module, workload: Workload, recorder: Recorder) -> Generator[None]:
    """Let a vision-language model take the pictures of a batch so, while inside; nothing without pictures."""
    images = workload.images
    if images is None:
        yield
        return
    recorder.assume("pictures", "all of one size, those of a batch in one pass")
    # the innermost that has a tower: the class around it hands on what it is asked
    found = [module for module in model.modules() if hasattr(module, "get_image_features")]
    if not found:
        # Llama 3.2 Vision reads tiles of one number, and nothing of values
        yield
        return
    inner: Any = found[-1]
    with ExitStack() as patches:
        code = sys.modules[type(inner).__module__]
        # asks whether tokens and pictures are as many, which without values nothing answers
        patches.enter_context(mock.patch.object(code, "torch_compilable_check", _unasked))
        if hasattr(inner, "visual"):
            _packed(inner, images, patches)
            yield
            return
        if hasattr(code, "create_bidirectional_mask"):
            hides = _hidden_beyond(images, code.create_bidirectional_mask)
            patches.enter_context(mock.patch.object(code, "create_bidirectional_mask", hides))
        wrap = _side_by_side if _reads_own_size(inner) else _as_one
        patches.enter_context(mock.patch.object(inner, "get_image_features", wrap(inner.get_image_features)))
        if hasattr(code, "Gemma4VisionPooler"):
            patches.enter_context(mock.patch.object(inner, "forward", _with_room(inner.forward, images)))
        yield


def _unasked(cond: Any, msg: Any) -> None:
    del cond, msg


def _packed(inner: Any, images: SampleImages, patches: ExitStack) -> None:
    """A tower that takes all pictures as one sequence of N x P patches, with the positions of each."""
    features, tower = inner.get_image_features, inner.visual
    apart = _Apart(tower, *images.grid)

    def found(pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        apart.pictures = image_grid_thw.shape[0]
        return features(pixel_values, apart.grid(), **apart.positions(pixel_values.shape[0]), **kwargs)

    def positions(input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        return _numbers(3, *input_ids.shape)

    patches.enter_context(mock.patch.object(inner, "get_image_features", found))
    patches.enter_context(mock.patch.object(inner, "compute_3d_position_ids", positions))
    if hasattr(inner.language_model, "_deepstack_process"):
        patches.enter_context(mock.patch.object(inner.language_model, "_deepstack_process", _add_at_pictures))
    patches.enter_context(apart.attending())


def _numbers(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=torch.long, device="meta")


class _Apart:
    """Attention within each picture or window of a tower; `pictures` is the number in the batch at hand."""

    def __init__(self, tower: Any, rows: int, columns: int) -> None:
        self.tower = tower
        self.rows, self.columns = rows, columns
        self.pictures = 1
        self.windows = _windows(tower, rows, columns)
        whole = [(rows * columns, rows * columns)]
        everywhere = set(getattr(tower, "fullatt_block_indexes", range(len(tower.blocks))))
        self._pieces = {
            id(block.attn): dict(whole if at in everywhere else self.windows) for at, block in enumerate(tower.blocks)
        }

    def grid(self) -> torch.Tensor:
        """One wide picture: a tensor with values, of which sizes are read."""
        return torch.tensor([[1, self.rows, self.columns * self.pictures]], device="cpu")

    def positions(self, total: int) -> dict[str, torch.Tensor]:
        """What the tower would make of each picture's sizes, for all of them: transformers takes it ready made."""
        ends = torch.tensor([0, total], device="cpu")
        made = {"image_cu_seqlens": ends, "image_position_ids": _numbers(total, 2)}
        if hasattr(self.tower, "num_grid_per_side"):
            made["image_interp_indices"] = _numbers(total, 4)
            made["image_interp_weights"] = torch.empty(total, 4, dtype=torch.float32, device="meta")
        if self.windows:
            together = [0, *(self.pictures * patches for patches, _ in self.windows)]
            made["image_cu_window_seqlens"] = torch.tensor(together, device="cpu").cumsum(0)
            made["image_window_index"] = _numbers(total // self.tower.spatial_merge_unit)
        return made

    @contextmanager
    def attending(self) -> Generator[None]:
        """The tower's attention taken so, while inside."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        known, config = cast("Any", ALL_ATTENTION_FUNCTIONS), self.tower.config
        usual: str = config._attn_implementation
        eager = sys.modules[type(self.tower).__module__].eager_attention_forward
        attend: Callable[..., Any] = known.get_interface(usual, eager)

        def apart(module: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            piece = self._pieces[id(module)][query.shape[2] // self.pictures]
            # [1,H,N*P,D] -> [N,H,P,D]: views, as the pieces that the loop cuts
            each = [t.squeeze(0).unflatten(1, (-1, piece)).transpose(0, 1) for t in (query, key, value)]
            out, weights = attend(module, *each, *args, **kwargs)
            return out.flatten(0, 1).unsqueeze(0), weights

        known[APART] = apart
        try:
            with mock.patch.object(config, "_attn_implementation_internal", APART):
                yield
        finally:
            known.pop(APART)


def _windows(tower: Any, rows: int, columns: int) -> list[tuple[int, int]]:
    """Windows of a picture by size: (patches of all of one size, patches of one); empty for a tower without windows.

    Windows at the right and lower edges are what is left. Source: transformers 5.23, `get_vision_window_index`.
    """
    if not hasattr(tower, "window_size"):
        return []
    merge = tower.spatial_merge_size
    side = tower.window_size // merge // tower.patch_size
    down, across = ([(side, n // merge // side), (n // merge % side, 1)] for n in (rows, columns))
    found: list[tuple[int, int]] = []
    for (height, above), (width, beside) in itertools.product(down, across):
        each = height * width * merge**2
        if each * above * beside:
            found.append((each * above * beside, each))
    return found


def _add_at_pictures(hidden: torch.Tensor, visual_pos_masks: torch.Tensor, visual_embeds: torch.Tensor) -> torch.Tensor:
    """[B,S,H] plus [N x tokens,H] at the positions of pictures, whose number the mask does not tell on meta."""
    del visual_pos_masks
    where = (_numbers(visual_embeds.shape[0]), _numbers(visual_embeds.shape[0]))
    hidden = hidden.clone()
    hidden[where] = hidden[where] + visual_embeds.to(hidden.dtype)
    return hidden


def _hidden_beyond(images: SampleImages, usual: Callable[..., Any]) -> Callable[..., Any]:
    """A tower's mask, which asks values whether it hides anything: only where there is room for more patches."""

    def made(config: Any, inputs_embeds: torch.Tensor, attention_mask: Any, **kwargs: Any) -> Any:
        if inputs_embeds.shape[1] == images.grid[0] * images.grid[1]:
            return None
        return usual(config, inputs_embeds, attention_mask, **kwargs, allow_is_bidirectional_skip=False)

    return made


def _with_room(forward: Callable[..., Any], images: SampleImages) -> Callable[..., Any]:
    def found(*args: Any, **kwargs: Any) -> Any:
        with _OfPictures(images):
            return forward(*args, **kwargs)

    return found


class _OfPictures(TorchFunctionMode):
    """What Gemma 4 chooses by value: patches [N,P] that are there, elements [B,S,H] of tokens that are pictures'."""

    def __init__(self, images: SampleImages) -> None:
        super().__init__()
        self.count, self.tokens = images.count, images.tokens - images.marks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mask = args[1] if func is torch.Tensor.__getitem__ else None
        if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and mask.dim() > 1:
            tensor = args[0]
            chosen = mask.shape[0] * self.tokens
            if mask.dim() == 3:
                chosen *= self.count * mask.shape[2]
            return tensor[tuple(_numbers(chosen) for _ in range(mask.dim()))]
        return func(*args, **(kwargs or {}))


def _reads_own_size(inner: Any) -> bool:
    return getattr(getattr(inner, "vision_tower", None), "config", None).__class__.__name__ == "PixtralVisionConfig"


def _side_by_side(features: Callable[..., Any]) -> Callable[..., Any]:
    """Pictures [N,3,height,width] as one of N times the width: Pixtral's tower takes their patches as one sequence."""

    def found(pixel_values: torch.Tensor, image_sizes: torch.Tensor, **kwargs: Any) -> Any:
        del image_sizes
        count, channels, height, width = pixel_values.shape
        wide = pixel_values.view(1, channels, height, count * width)
        with _Unbound():
            return features(pixel_values=wide, image_sizes=[(height, count * width)], **kwargs)

    return found


def _as_one(features: Callable[..., Any]) -> Callable[..., Any]:
    def found(*args: Any, **kwargs: Any) -> Any:
        with _Unbound():
            return features(*args, **kwargs)

    return found


class _Unbound(TorchFunctionMode):
    """Taking [N,...] apart into its rows, whose number is a batch's, gives one piece of all rows instead."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.unbind and args[0].dim() == 3:
            flat = args[0].flatten(0, 1)
            return torch.split(flat, [flat.shape[0]])
        if func is torch.Tensor.tolist and args[0].device.type == "meta":
            # how many rows each picture has: only their sum is known
            return None
        if func in (torch.Tensor.split, torch.split) and len(args) > 1 and args[1] is None:
            return func(args[0], [args[0].shape[0]])
        return func(*args, **(kwargs or {}))
