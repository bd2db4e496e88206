"""A picture has the tokens that the installed transformers' own image processors give it."""

from __future__ import annotations

import ast
import importlib
import itertools
import math
import re
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import advisor
from advisor.catalog.models import resolve_model
from advisor.catalog.models.image_lengths import length_beside
from advisor.catalog.models.image_tiles import resized
from advisor.catalog.models.image_tokens import AREAS, RULES, USUAL, sample_images
from advisor.domain.request.typed_numbers import picture_size
from advisor.errors import BadRequest, UnsupportedModel
from advisor.estimator.estimate_request import EstimateRequest
from advisor.estimator.fitting.largest import shortest_beside
from tests.vision_models import CONFIGS, tiny

SIDES = (1, 27, 56, 333, 640, 1001, 4100)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def theirs(family: str, file: str, *functions: str, **known: Any) -> dict[str, Any]:
    """Functions and methods of transformers, read from its source: modules that hold them need torchvision."""
    found = find_spec(f"transformers.models.{family}")
    assert found is not None
    assert found.origin is not None
    source = ast.parse(Path(found.origin).with_name(f"{file}.py").read_text(encoding="utf-8"))
    wanted: list[ast.stmt] = [n for n in ast.walk(source) if isinstance(n, ast.FunctionDef) and n.name in functions]
    names = {"math": math, **known}
    lazily = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*lazily, *wanted], []), file, "exec"), names)
    return names


@pytest.mark.parametrize(("block", "bounds"), [(28, AREAS["qwen2_vl"]), (32, AREAS["qwen3_5"]), (28, (3136, 10**6))])
def test_pictures_are_resized_as_transformers_resizes_them(block: int, bounds: tuple[int, int]) -> None:
    smart_resize = theirs("qwen2_vl", "image_processing_qwen2_vl", "smart_resize")["smart_resize"]
    for width, height in itertools.product(SIDES, SIDES):
        if max(width, height) <= 200 * min(width, height):
            assert resized(width, height, block, *bounds) == smart_resize(height, width, block, *bounds)


FIXED = {"gemma3": 4, "llava": 16, "paligemma": 16, "mllama": 1}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_rule_has_a_model_and_counts_whole_tokens(name: str) -> None:
    images = sample_images(tiny(name), 2, None if name in FIXED else (640, 480))
    assert images is not None
    assert images.count == 2
    if name in FIXED:
        assert images.tokens == FIXED[name]
    elif tiny(name).model_type in AREAS:
        assert images.tokens == images.grid[0] * images.grid[1] // 4
    assert 0 <= images.marks <= images.tokens
    assert {*(tiny(one).model_type for one in CONFIGS), "qwen3_vl_moe", "qwen3_5_moe"} == set(RULES)


def test_sizes_that_a_config_leaves_out_are_those_of_its_class() -> None:
    from transformers import CONFIG_MAPPING

    for model_type, sides in USUAL.items():
        made = CONFIG_MAPPING[model_type]()
        found = (made.image_size, made.patch_size)
        assert tuple(one if isinstance(one, int) else one[0] for one in found) == sides, model_type
    spec = tiny("paligemma")
    tower = {k: v for k, v in spec.config["vision_config"].items() if k not in ("image_size", "patch_size")}
    images = sample_images(spec.model_copy(update={"config": {**spec.config, "vision_config": tower}}), 1, None)
    assert images is not None
    assert (images.width, images.tokens) == (224, 196)


def test_the_largest_length_is_sought_among_those_that_hold_the_pictures() -> None:
    request = EstimateRequest(model="google/paligemma-3b-pt-224", gpu="L4", method="lora", images=3)
    spec = resolve_model(request.model)
    least = shortest_beside(request, spec)
    images = sample_images(spec, 3, None)
    assert images is not None
    assert length_beside(images, spec, least, texts=1000)[0] == least
    with pytest.raises(BadRequest):
        length_beside(images, spec, least - 1, texts=1000)


PICTURES = ((640, 480), (480, 641), (1001, 333), (97, 1300), (64, 64), (31, 300), (4000, 3000), (30, 29))
"""Widths and heights of every shape: along, upright, square, large, small, thin."""


@pytest.mark.parametrize("family", ["idefics3", "smolvlm"])
def test_tiles_and_their_marks_are_those_that_the_processor_makes(family: str) -> None:
    processing = importlib.import_module(f"transformers.models.{family}.processing_{family}")
    module = importlib.import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    named = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[family]
    processor = getattr(module, f"{named}ImageProcessorPil")(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 28}
    )
    words = SimpleNamespace(
        fake_image_token="<a>", global_image_tag="<b>", image_token="<i>", global_image_token="<b>", image_seq_len=4
    )
    for width, height in PICTURES:
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        made = processor([[picture]], return_row_col_info=True, return_tensors="np")
        text = getattr(processing, f"{named}Processor").replace_image_token(words, dict(made), 0)
        images = sample_images(tiny(family), 1, (width, height))
        assert images is not None
        assert images.tiles == made["pixel_values"].shape[1], (width, height)
        assert images.tokens - images.marks == text.count("<i>")
        # two line breaks are one token of the tokenizers that are published
        assert images.marks == len(re.findall(r"<(?!i>)[^>]*>|\n+", text)), (width, height)


def test_tiles_of_internvl_are_those_that_the_processor_makes() -> None:
    module = importlib.import_module("transformers.models.got_ocr2.image_processing_pil_got_ocr2")
    processor = module.GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, crop_to_patches=True)
    for width, height in PICTURES:
        images = sample_images(tiny("internvl"), 1, (width, height))
        assert images is not None
        assert images.tiles == processor.get_number_of_image_patches(height, width, {}), (width, height)
        assert images.tokens == 2 + 4 * images.tiles


@pytest.mark.parametrize("name", ["mistral3", "llava of pixtral"])
def test_lines_of_pixtral_are_those_that_the_processor_makes(name: str) -> None:
    replaced = theirs("pixtral", "processing_pixtral", "replace_image_token")["replace_image_token"]
    module = importlib.import_module("transformers.models.pixtral.image_processing_pil_pixtral")
    merge = 2 if name == "mistral3" else 1
    words = SimpleNamespace(
        patch_size=14, spatial_merge_size=merge, image_token="<i>", image_break_token="<b>", image_end_token="<e>"
    )
    for width, height in PICTURES:
        size = module.get_resize_output_image_size(np.zeros((height, width, 3)), (84, 84), (14 * merge, 14 * merge))
        text = replaced(words, {"image_sizes": [size]}, 0)
        images = sample_images(tiny(name), 1, (width, height))
        assert images is not None
        assert tuple(14 * side for side in images.grid) == size, (width, height)
        assert (images.tokens, images.marks) == (text.count("<"), len(re.findall("<b>|<e>", text)))


def test_tiles_of_llama_4_are_those_that_the_processor_makes() -> None:
    functions = ("get_factors", "get_best_fit", "find_supported_resolutions")
    whole = {"torch": torch, "defaultdict": defaultdict, "lru_cache": lambda **_: lambda function: function}
    names = theirs("llama4", "image_processing_llama4", *functions, **whole)
    grids = torch.tensor(names["find_supported_resolutions"](16, SimpleNamespace(height=28, width=28)))
    for width, height in PICTURES:
        best = names["get_best_fit"]((height, width), grids)
        rows, columns = (int(side) // 28 for side in best)
        images = sample_images(tiny("llama4"), 1, (width, height))
        assert images is not None
        assert images.tiles == rows * columns + (rows * columns > 1), (width, height)


def test_patches_of_gemma_4_are_those_that_the_processor_makes() -> None:
    module = importlib.import_module("transformers.models.gemma4.image_processing_pil_gemma4")
    for width, height in PICTURES:
        down, across = module.get_aspect_ratio_preserving_size(height, width, 14, 40, 2)
        images = sample_images(tiny("gemma4"), 1, (width, height))
        assert images is not None
        assert images.grid == (down // 14, across // 14), (width, height)
        assert images.tokens - 2 == down * across // 28**2


def test_bounds_of_a_processor_beside_the_weights_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"min_pixels": 3136, "max_pixels": 100352}')
    spec = tiny("qwen2_5_vl").model_copy(update={"weights": str(tmp_path)})
    images = sample_images(spec, 1, (1920, 1080))
    assert images is not None
    assert images.tokens <= 128


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        ("google/gemma-4-E2B", {"images": 1}, "nobody says"),
        ("Qwen/Qwen3.5-0.8B", {"images": 1}, "nobody says"),
        ("Qwen/Qwen3.5-0.8B", {"image_size": 640}, "no number of pictures"),
        ("Qwen/Qwen3.5-0.8B", {"images": 1, "image_size": "640by480"}, "no size of a picture"),
        ("Qwen/Qwen3.5-0.8B", {"images": 1, "image_size": "8000x20"}, "differ more than"),
        ("Qwen/Qwen3.5-0.8B", {"images": 2, "image_size": 640, "seq_len": 512}, "does not hold"),
        ("Qwen/Qwen3-0.6B", {"images": 1}, "no vision-language model"),
        ("google/gemma-3-4b-pt", {"images": 1, "objective": "dpo"}, "not priced yet"),
        ("google/gemma-3-4b-pt", {"images": 1, "task": "sequence-classification"}, "not priced yet"),
        ("google/gemma-3-4b-pt", {"images": 1, "batching": "packed"}, "padded, never packed"),
        ("google/gemma-3-4b-pt", {"images": 1, "method": "prompt-tuning"}, "not modelled"),
        ("google/gemma-3-4b-pt", {"images": 1, "fused_loss": "cce"}, "not modelled with pictures"),
    ],
)
def test_pictures_that_cannot_be_priced_are_refused(model: str, asked: dict[str, Any], said: str) -> None:
    with pytest.raises((BadRequest, UnsupportedModel, advisor.AdvisorError), match=said):
        advisor.estimate(model, "L4", **{"method": "lora", **asked})


def test_a_model_type_without_a_rule_is_never_priced_as_texts() -> None:
    known = tiny("llava")
    spec = known.model_copy(update={"config": {**known.config, "model_type": "other_vl"}})
    with pytest.raises(UnsupportedModel, match="other_vl"):
        sample_images(spec, 1, (640, 480))
    assert sample_images(spec, 0, None) is None


def test_sizes_are_a_side_or_width_and_height() -> None:
    assert picture_size(224) == picture_size("224") == (224, 224)
    assert picture_size("1024x768") == (1024, 768)
    for wrong in (0, "0x5", -3, "1e9", 10001):
        with pytest.raises(BadRequest):
            picture_size(wrong)


def test_pictures_are_not_exported_as_texts() -> None:
    case = {"model": "google/gemma-3-4b-pt", "method": "lora", "images": 1}
    with pytest.raises(advisor.AdvisorError, match="not exported yet"):
        advisor.export(case, to="trl")
