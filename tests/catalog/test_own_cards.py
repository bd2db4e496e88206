"""Cards of the user's own: the template fills and reads back, wrong figures are refused by their field's name."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.gpus import described_gpu, find_gpu, gpus
from advisor.catalog.gpus.described_card import memory_in
from advisor.catalog.gpus.gpu_lookup import forget, own_folder
from advisor.catalog.gpus.laws import BOUNDS, faults
from advisor.catalog.gpus.own_cards import ABOUT, add_card, own_entry, template
from advisor.catalog.prices import offers
from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB
from advisor.errors import BadFile, BadRequest, UnknownName

FIGURES: dict[str, Any] = {
    "name": "X-9000",
    "generation": "Ada",
    "aliases": ["NVIDIA X 9000"],
    "memory_bytes": "24564 MiB",
    "bandwidth_bytes_s": "1008 GB/s",
    "fp32_flop_s": "82.6 TFLOP/s",
    "tf32_flop_s": "82.6 TFLOPS",
    "bf16_flop_s": "165.2 TFLOP/s",
    "fp8_flop_s": 330.3e12,
    "int8_op_s": "660 TOP/s",
    "compute_capability": 8.9,
    "interconnect_bytes_s": "64 GB/s",
    "tdp_w": 450,
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    monkeypatch.delenv("ADVISOR_PRICES", raising=False)
    return tmp_path


def filled(**changes: Any) -> dict[str, Any]:
    return {**template(), **FIGURES, **changes}


def put(folder: Path, document: Any, name: str = "card.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_the_template_explains_every_field_of_a_card():
    document = template()
    assert set(document["about"]) == set(ABOUT) == set(Gpu.model_fields) - {"usable_why", "confidence", "like"}
    assert set(document) == set(ABOUT) | {"schema", "about"}
    json.dumps(document)


def test_the_template_itself_says_what_to_fill_in_first(tmp_path: Path):
    with pytest.raises(BadFile, match="memory_bytes is missing"):
        own_entry(template(), tmp_path / "t.json")


def test_a_filled_template_is_a_card(tmp_path: Path):
    card = own_entry(filled(), tmp_path / "t.json")
    ours = find_gpu("RTX-4090")[0]
    for field in ("memory_bytes", "bandwidth_bytes_s", "fp32_flop_s", "bf16_flop_s", "interconnect_bytes_s"):
        assert getattr(card, field) == pytest.approx(getattr(ours, field))
    assert isinstance(card, Gpu)
    assert card.usable_bytes == card.memory_bytes - int(0.4 * GIB)
    assert card.bf16_supported is True
    assert card.confidence == "low"


def test_an_added_card_is_found_by_name_and_alias_and_one_dropped_in_the_folder_too(tmp_path: Path):
    card, place = add_card(put(tmp_path, filled()), own_folder())
    put(own_folder(), filled(name="Y-1", aliases=[]), "dropped.json")
    forget()
    assert place.parent == own_folder()
    assert find_gpu("nvidia x 9000")[0] == find_gpu("X-9000")[0] == card
    assert find_gpu("y1")[0].memory_bytes == card.memory_bytes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_bytes", "24 TB"),
        ("memory_bytes", 24),
        ("memory_bytes", -1),
        ("memory_bytes", "much"),
        ("memory_bytes", True),
        ("bandwidth_bytes_s", 0),
        ("bandwidth_bytes_s", "-1 GB/s"),
        ("bandwidth_bytes_s", "1.008.000 MB/s"),
        ("bandwidth_bytes_s", "."),
        ("interconnect_bytes_s", "64 Gbps"),
        ("interconnect_bytes_s", "512 Gb/s"),
        ("bandwidth_bytes_s", 1008),
        ("bandwidth_bytes_s", float("nan")),
        ("bf16_flop_s", float("inf")),
        ("bf16_flop_s", "165200 TFLOP/s"),
        ("bf16_flop_s", "165.2"),
        ("fp32_flop_s", "82.6 PFLOP/s"),
        ("tdp_w", -450),
        ("tdp_w", "1e400 "),
        ("measured_bf16_flop_s", "200 TFLOP/s"),
        ("interconnect_bytes_s", 0),
        ("compute_capability", 89),
        ("fp8_flop_s", "100 TFLOP/s"),
        ("usable_bytes", "30 GiB"),
        ("bf16_supported", False),
        ("bf16_supported", "perhaps"),
        ("aliases", "one"),
        ("name", "!!"),
        ("name", None),
        ("vendor", ""),
        ("colour", "green"),
    ],
)
def test_a_figure_no_card_has_is_refused_with_its_fields_name(tmp_path: Path, field: str, value: Any):
    with pytest.raises(BadFile) as caught:
        add_card(put(tmp_path, filled(**{field: value})), own_folder())
    assert field in str(caught.value)
    assert not own_folder().exists() or not list(own_folder().glob("*.json"))


@settings(deadline=None)
@given(st.sampled_from(sorted(BOUNDS)), st.sampled_from([1e-6, 1e-3, 1e3, 1e6]))
def test_a_slip_of_a_thousand_breaks_a_law(field: str, factor: float):
    card = find_gpu("H100-SXM")[0]
    if field in ("compute_capability", "tdp_w", "interconnect_bytes_s", "int8_op_s") and factor in (1e-3, 1e3):
        factor **= 2
    broken = card.model_copy(update={field: getattr(card, field) * factor})
    assert list(faults(broken))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*ABOUT, "schema", "about", "x"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.lists(st.integers()),
    )
)
def test_no_file_makes_the_reading_crash(changes: dict[str, Any]):
    with contextlib.suppress(BadFile):
        own_entry({**filled(), **changes}, "card.json")


def test_what_is_no_json_or_another_file_is_refused(tmp_path: Path):
    for document in ("{", "[]", json.dumps({"schema": "profile/2"}), json.dumps(filled(schema="gpu/9"))):
        with pytest.raises(BadFile):
            add_card(put(tmp_path, document), own_folder())


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24e9), ("24", 24e9), (24, 24e9), ("24gib", 24 * GIB), ("24564 MiB", 24564 * 2**20), ("11.5G", 11.5e9)],
)
def test_sizes_are_read_with_their_unit(text: Any, size: float):
    assert memory_in(text) == int(size)


@pytest.mark.parametrize("text", ["", "0GB", "-24GB", "24TB", "900GB", "24 apples", "nan", "inf", "1e3GB", 0.1])
def test_a_size_no_card_has_is_refused(text: Any):
    with pytest.raises(BadRequest, match="--gpu-memory"):
        memory_in(text)


def test_a_described_card_has_the_others_rates_and_nothing_else_of_it():
    card, note = described_gpu("Radeon VII", "16GiB", "RTX-4090")
    real = find_gpu("RTX-4090")[0]
    assert (card.bf16_flop_s, card.bandwidth_bytes_s) == (real.bf16_flop_s, real.bandwidth_bytes_s)
    assert card.memory_bytes == 16 * GIB > card.usable_bytes
    assert card.like == "RTX-4090"
    assert card.measured_bf16_flop_s is None
    assert "Radeon VII" in card.name
    assert "assumption" in note
    assert not offers(card.name), "nobody rents it out"


@settings(deadline=None)
@given(gpu=st.sampled_from([gpu.name for gpu in gpus()]), memory=st.sampled_from(["8GB", "24GiB", "48GB", "141GB"]))
def test_no_name_of_a_described_card_is_one_of_the_catalogue(gpu: str, memory: str):
    for card in (described_gpu(gpu, memory, None)[0], described_gpu(None, memory, gpu)[0]):
        with pytest.raises(UnknownName):
            find_gpu(card.name)


def test_a_description_by_half_says_what_is_missing():
    with pytest.raises(BadRequest, match="how much it holds"):
        described_gpu("X", None, "RTX-4090")
    with pytest.raises(UnknownName):
        described_gpu("X9000", "24GB", None)
    with pytest.raises(UnknownName):
        described_gpu(None, "24GB", "X9000")
    with pytest.raises(BadRequest, match="--gpu is missing"):
        described_gpu(None, None, None)
