"""What fits: the value found fits and the next does not, on real traces that travel with the package."""

from __future__ import annotations

import pickle

import pytest

import advisor
from advisor.catalog.gpus import find_gpu, gpus
from advisor.catalog.models import resolve_model
from advisor.catalog.prices import offers
from advisor.errors import BadRequest, DoesNotFit, UnknownName
from advisor.interfaces.cli.fit import fitting_table

MODEL = "meta-llama/Llama-3.1-8B"
"""Its traces travel with the package, padded and not."""
CASE = {"method": "lora", "dtype": "bfloat16"}
CARDS = "T4,L4,RTX-4090,A100-80GB,H100"


@pytest.fixture(scope="module")
def of_gpus():
    return advisor.fit(MODEL, CARDS, vary="gpu", seq_len=512, batch_size=2, samples=1000, **CASE)


@pytest.mark.parametrize(
    ("vary", "field", "more"), [("batch", "batch_size", {"seq_len": 512}), ("length", "seq_len", {})]
)
def test_the_largest_fits_and_what_is_next_does_not(vary, field, more):
    found = advisor.fit(MODEL, "L40S", vary=vary, **more, **CASE)
    assert found.found.fits
    size = int(found.value)
    again = advisor.estimate(MODEL, "L40S", **{field: size}, **more, **CASE)
    assert again.fits
    assert again.memory.peak_device == found.found.memory.peak_device
    above = min(int(row.name) for row in found.tried if int(row.name) > size)
    assert above - size <= (1 if vary == "batch" else max(1, size // 32))
    assert f"{size}; {above} needs" in found.says
    assert not advisor.estimate(MODEL, "L40S", **{field: above}, **more, **CASE).fits


def test_the_most_that_the_model_takes_is_no_failure():
    found = advisor.fit(MODEL, "B300", vary="batch", seq_len=1, **CASE)
    assert "the most there is" in found.says


def test_where_nothing_fits_the_need_is_said():
    with pytest.raises(DoesNotFit, match=r"a batch of one fits L4: it needs .* GiB"):
        advisor.fit(MODEL, "L4", vary="batch", seq_len=512, **CASE)


def test_every_card_named_is_priced_or_refused_and_the_cheapest_and_smallest_fit(of_gpus):
    rows = {row.name: row for row in of_gpus.tried}
    assert set(rows) == {find_gpu(name)[0].name for name in CARDS.split(",")}
    assert all((row.need is None) == bool(row.refusal) for row in rows.values())
    able = [row for row in rows.values() if row.fits]
    assert of_gpus.found.gpu == of_gpus.value == of_gpus.cheapest
    assert rows[of_gpus.cheapest].usd.mid == min(row.usd.mid for row in able)
    room = {row.name: find_gpu(row.name)[0].usable_bytes for row in able}
    assert room[of_gpus.smallest] == min(room.values())
    assert of_gpus.cheapest in of_gpus.says


def test_any_gpu_is_every_card_with_a_price():
    named = advisor.fit(MODEL, "any", vary="gpu", seq_len=256, **CASE)
    assert {row.name for row in named.tried} == {gpu.name for gpu in gpus() if offers(gpu.name)}
    assert named.found.time.training is None
    assert all(row.seconds.mid < 60 for row in named.tried if row.fits)


def test_of_models_the_largest_that_fits_is_found_and_what_cannot_fit_is_not_traced():
    names = (MODEL, "Qwen/Qwen2.5-7B", "meta-llama/Llama-3.1-70B")
    found = advisor.fit(",".join(names), "L4", vary="model", seq_len=64, **CASE)
    sizes = {name: resolve_model(name).parameters for name in names}
    assert found.found.fits
    assert found.value in names
    assert all(row.fits is (sizes[row.name] <= sizes[found.value]) for row in found.tried)
    assert names[2] not in {row.name for row in found.tried}
    assert any(note.startswith("1 models whose weights alone") for note in found.notes)
    with pytest.raises(DoesNotFit, match="weights alone"):
        advisor.fit(names[2], "L4", vary="model", seq_len=64, **CASE)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(BadRequest, match="no bfloat16"):
        advisor.fit(MODEL, "T4", vary="batch", **CASE)
    with pytest.raises(BadRequest, match="batch_size gives one"):
        advisor.fit(MODEL, "L4", vary="batch", batch_size=4, **CASE)
    with pytest.raises(BadRequest, match="vary"):
        advisor.fit(MODEL, "L4", vary="colour", **CASE)
    with pytest.raises(BadRequest, match="--model is missing"):
        advisor.fit(None, "L4", **CASE)
    with pytest.raises(UnknownName):
        advisor.fit(MODEL, "L4,nonesuch", vary="gpu", **CASE)


def test_the_answer_pickles_and_is_shown_to_people(of_gpus):
    assert pickle.loads(pickle.dumps(of_gpus)) == of_gpus
    assert type(of_gpus).model_validate_json(of_gpus.model_dump_json()) == of_gpus
    shown = [part for part in fitting_table(of_gpus) if isinstance(part, str)]
    assert shown[0] == of_gpus.says
