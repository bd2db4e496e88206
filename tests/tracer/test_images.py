"""One trace of a vision-language model with pictures answers for every batch: its step has one form."""

from __future__ import annotations

from pathlib import Path

import pytest

from advisor.catalog.models.image_tokens import sample_images
from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import expand
from advisor.domain.workload import Workload
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
