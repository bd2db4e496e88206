"""One trace of a vision-language model with pictures answers for every batch: its step has one form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from advisor.assembly.base_model import tower_fields
from advisor.catalog.models import resolve_model
from advisor.catalog.models.image_tokens import sample_images
from advisor.catalog.models.spec import spec_of
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import expand
from advisor.domain.workload import SampleImages, Workload
from advisor.tracer.trace import make_trace, trace_key
from tests.selection import one_in
from tests.vision_models import CONFIGS, tiny


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))


def workload_of(name: str, count: int) -> Workload:
    # edges beside whole windows
    return Workload(model=name, seq_len=640, images=sample_images(tiny(name), count, (140, 84)) if count else None)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", one_in(6, list(CONFIGS)))
def test_the_tower_runs_on_every_picture_of_a_batch(name: str) -> None:
    recipe = Recipe(method="lora", dtype="float32", micro_batch_size=2)
    allocated: list[list[int]] = []
    for count in (0, 1, 2):
        timeline = expand(make_trace(tiny(name), workload_of(name, count), recipe))
        allocated.append([int(timeline.bytes_of(batch, 640).sum()) for batch in (1, 3)])
    texts, one, two = allocated
    for alone, single, double in zip(texts, one, two, strict=True):
        # the first picture brings the gradients of the tower's adapters too
        assert 0 < double - single <= single - alone
    apart = pytest.approx(3 * (two[0] - one[0]), rel=1e-4)
    # Pixtral's tower masks every patch of a batch from every other: more than three times for three samples
    masked = "pixtral" in str(tiny(name).config["vision_config"])
    assert two[1] - one[1] > 3 * (two[0] - one[0]) if masked else two[1] - one[1] == apart


def test_traces_are_told_apart_by_their_pictures() -> None:
    recipe = Recipe(method="lora")
    keys = {trace_key(tiny("llava"), workload_of("llava", count), recipe) for count in (0, 1, 2)}
    assert len(keys) == 3


DEEP = {"qwen2_vl": {"depth": 9}, "llava": {"num_hidden_layers": 9}, "paligemma": {"num_hidden_layers": 9}}
"""Towers deep enough to be cut; llava reads the features of the last layer but one."""


def deep(name: str) -> ModelSpec:
    """The tiny model with nine layers in its tower and eight in its text."""
    config = json.loads(json.dumps({"model_type": name, **CONFIGS[name]}))
    text = config.get("text_config", config)
    text["num_hidden_layers"] = 8
    if "layer_types" in text:
        text["layer_types"] = [text["layer_types"][-1]] * 8
    config["vision_config"] |= DEEP[name]
    return spec_of(config, name=f"deep-{name}", asked=name, source="folder", where="a test")


CUT = [(name, method) for name in DEEP for method in ("lora", "full")]
IN_CI = [("qwen2_vl", "full")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [pytest.param(*one, marks=() if one in IN_CI else pytest.mark.exhaustive) for one in CUT],
)
def test_a_tower_that_is_cut_gives_the_whole_ones_step(name: str, method: str) -> None:
    spec = deep(name)
    asked = Workload(model=name, seq_len=640, images=sample_images(spec, 1, (140, 84)))
    recipe = Recipe(method=method, dtype="float32", micro_batch_size=2, gradient_checkpointing=method == "full")
    cut, whole = make_trace(spec, asked, recipe), make_trace(spec, asked, recipe, whole=True)
    assert {repeat.extra > 0 for repeat in cut.repeats} == {True}
    assert len(cut.repeats) == 2, "the tower and the text"
    assert (cut.trainable_parameters, cut.total_parameters) == (whole.trainable_parameters, whole.total_parameters)
    one, other = expand(cut), expand(whole)
    assert [one.names[i] for i in one.op_name] == [other.names[i] for i in other.op_name]
    for batch in (1, 3):
        assert one.bytes_of(batch, 640).tolist() == other.bytes_of(batch, 640).tolist()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {"vision_config.num_hidden_layers": 2}),
        ({"vision_feature_layer": -2}, {"vision_config.num_hidden_layers": 2}),
        ({"vision_feature_layer": [1, 2]}, {}),
        ({"vision_feature_layer": 1}, {}),
        ({"vision_config": {"depth": 7, "fullatt_block_indexes": [1]}}, {}),
        ({"vision_config": {"depth": 7, "deepstack_visual_indexes": []}}, {"vision_config.depth": 7}),
        ({"vision_config": {"depth": "seven"}}, {}),
        ({"vision_config": None}, {}),
    ],
    ids=str,
)
def test_a_tower_that_names_single_layers_is_never_cut(changes: dict[str, Any], found: dict[str, int]) -> None:
    known = tiny("gemma3")
    assert tower_fields(known.model_copy(update={"config": {**known.config, **changes}})) == found


def test_pictures_that_cost_otherwise_have_another_key() -> None:
    """A picture's size in pixels is not what is traced: its patches, tokens, tiles and marks are."""
    spec = resolve_model("Qwen/Qwen2-VL-2B-Instruct")

    def key(**changes: Any) -> str:
        fields = {"count": 1, "width": 640, "height": 480, "grid": (4, 4), "tokens": 64, "marks": 0, "tiles": 1}
        images = SampleImages.model_validate({**fields, **changes})
        workload = Workload(model=spec.name, seq_len=512, images=images)
        return trace_key(spec, workload, Recipe(method="lora"))

    assert key(width=641) == key()
    others = [{"count": 2}, {"grid": (4, 5)}, {"tokens": 65}, {"tiles": 4}, {"marks": 3}, {"tiles": 4, "marks": 3}]
    assert len({key(), *(key(**one) for one in others)}) == 1 + len(others)
