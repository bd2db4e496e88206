"""A picture has the tokens that the installed transformers' own image processors give it."""

from __future__ import annotations

import ast
import itertools
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import advisor
from advisor.catalog.models.image_tokens import AREAS, RULES, resized, sample_images
from advisor.domain.request.typed_numbers import picture_size
from advisor.errors import BadRequest, UnsupportedModel
from tests.vision_models import CONFIGS, tiny

SIDES = (1, 27, 56, 333, 640, 1001, 4100)
FIXED = {"gemma3": 4, "llava": 16}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def theirs() -> Any:
    """transformers' own function, read from its source: the module that holds it needs torchvision to be imported."""
    found = find_spec("transformers.models.qwen2_vl")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).with_name("image_processing_qwen2_vl.py").read_text(encoding="utf-8")
    function = next(
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "smart_resize"
    )
    names: dict[str, Any] = {"math": math}
    exec(compile(ast.Module([function], []), "smart_resize", "exec"), names)
    return names["smart_resize"]


@pytest.mark.parametrize(("block", "bounds"), [(28, AREAS["qwen2_vl"]), (32, AREAS["qwen3_5"]), (28, (3136, 10**6))])
def test_pictures_are_resized_as_transformers_resizes_them(block: int, bounds: tuple[int, int]) -> None:
    smart_resize = theirs()
    for width, height in itertools.product(SIDES, SIDES):
        if max(width, height) <= 200 * min(width, height):
            assert resized(width, height, block, *bounds) == smart_resize(height, width, block, *bounds)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_rule_has_a_model_and_counts_whole_tokens(name: str) -> None:
    images = sample_images(tiny(name), 2, None if name in FIXED else (640, 480))
    assert images is not None
    assert images.count == 2
    if name in FIXED:
        assert images.tokens == FIXED[name]
    else:
        assert images.tokens == images.grid[0] * images.grid[1] // 4
    assert {*CONFIGS, "qwen3_vl_moe", "qwen3_5_moe"} == set(RULES)


def test_bounds_of_a_processor_beside_the_weights_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"min_pixels": 3136, "max_pixels": 100352}')
    spec = tiny("qwen2_5_vl").model_copy(update={"weights": str(tmp_path)})
    images = sample_images(spec, 1, (1920, 1080))
    assert images is not None
    assert images.tokens <= 128


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        ("google/gemma-4-E2B", {"images": 1}, "cannot be priced with pictures yet"),
        ("meta-llama/Llama-4-Scout-17B-16E", {"images": 1}, "'llama4'"),
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
