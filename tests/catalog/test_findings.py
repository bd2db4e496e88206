"""Laws for the studies that ship, and what a study file must not be."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter, defaultdict
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.findings.method_names import KIND_OF, KINDS, our_name
from advisor.catalog.findings.study_files import FOLDER, broken_laws, load_studies, merged, read_folder, read_study
from advisor.catalog.methods import methods
from advisor.domain.findings import Study
from advisor.errors import BadFile, UnknownName
from advisor.literature.quality.observations import usable

GOOD: dict[str, Any] = {
    "schema": "study/1",
    "id": "tiny2026",
    "title": "A tiny study",
    "url": "https://example.org/tiny",
    "shared": {
        "table": "Table 1",
        "model": "BERT-base",
        "architecture": "encoder",
        "task": "SST-2",
        "task_type": "NLU",
        "metric": "accuracy",
        "address": "page 3",
    },
    "findings": [
        {"samples": 100, "method": "full", "value": 80.0},
        {"samples": 100, "method": "lora", "value": 79.0, "full_value": 80.0},
    ],
}


def put(folder: Path, name: str = "tiny2026", **changes: Any) -> Path:
    document = deepcopy(GOOD)
    document.update(changes)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def with_lora(**changes: Any) -> list[dict[str, Any]]:
    return [GOOD["findings"][0], {**GOOD["findings"][1], **changes}]


def test_every_study_that_ships_keeps_every_law():
    assert {study.id: broken_laws(study) for study in load_studies()} == {study.id: [] for study in load_studies()}


def test_all_studies_and_results_are_there():
    studies = load_studies()
    assert len(studies) >= 67
    assert sum(len(study.findings) for study in studies) >= 11_200


def test_fifteen_studies_ran_full_fine_tuning_beside_three_methods_at_two_sizes():
    rich = 0
    for study in load_studies():
        sizes: dict[int, set[str]] = defaultdict(set)
        for finding in study.findings:
            if usable(finding) and finding.samples and finding.full_value is not None:
                sizes[finding.samples].add(finding.method)
        rich += sum(len(methods) >= 3 for methods in sizes.values()) >= 2
    assert rich >= 15


def test_a_row_that_repeats_another_studys_is_marked_as_copied():
    """Five equal results of one method in two studies are one table printed twice: one of the two says so."""
    said: dict[tuple[str, str, float], set[tuple[str, str, str, str]]] = defaultdict(set)
    for study in load_studies():
        for finding in study.findings:
            if usable(finding):
                task = re.sub(r"glue/|vtab-?1k/|[-_ ]", "", finding.task.lower())
                place = (study.id, finding.table, finding.model, finding.settings)
                said[finding.method, task, finding.value].add(place)
    together = Counter(pair for places in said.values() for pair in combinations(sorted(places), 2))
    assert [pair for pair, times in together.items() if times >= 5 and pair[0][0] != pair[1][0]] == []


def test_no_study_is_left_out_of_the_folder():
    shipped = {path.stem for path in FOLDER.glob("*.json")}
    assert shipped <= {study.id for study in load_studies()}


def test_effects_against_full_are_in_points_and_not_in_fractions():
    for study in load_studies():
        for finding in study.findings:
            if finding.unit == "points" and finding.aspect == "quality" and finding.full_value is not None:
                assert abs(finding.value - finding.full_value) <= 100
                assert finding.full_value == 0 or finding.full_value > 1, (study.id, finding.metric)


def test_reading_everything_takes_less_than_half_a_second_of_the_processor():
    start = time.process_time()
    read_folder(FOLDER)
    assert time.process_time() - start < 0.5


def test_a_good_study_reads_with_its_shared_fields_spread(tmp_path: Path):
    study = read_study(put(tmp_path))
    assert [finding.method for finding in study.findings] == ["full", "lora"]
    assert {finding.address for finding in study.findings} == {"page 3"}


def test_a_study_survives_a_round_trip():
    for study in load_studies()[:3]:
        assert Study.from_document(json.loads(json.dumps(study.to_document()))) == study


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"findings": [{"samples": 100, "method": "lora"}]}, "value"),
        ({"findings": with_lora(samples=0)}, "samples"),
        ({"findings": with_lora(model_parameters=-1)}, "model_parameters"),
        ({"findings": with_lora(architecture="quantum")}, "architecture"),
        ({"findings": with_lora(surprise=1)}, "surprise"),
        ({"findings": with_lora(samples=0.5)}, "samples"),
        ({"findings": with_lora(task_type="cooking")}, "unknown task type: 'cooking'"),
        ({"findings": with_lora(task_type="cost")}, "cost"),
        ({"findings": with_lora(value=math.nan)}, "value"),
        ({"findings": with_lora(full_value=math.inf)}, "full_value"),
        ({"findings": with_lora(spread=-1)}, "spread"),
        ({"findings": with_lora(value=0.79)}, "percentages beside fractions"),
        ({"findings": with_lora(method="lorra")}, "unknown method"),
        ({"findings": with_lora(method="lora_fa")}, "must be written 'lora-fa'"),
        ({"findings": with_lora(address="")}, "address"),
        ({"findings": with_lora(metric="validation loss")}, "lower is better"),
        ({"findings": with_lora(metric="TER")}, "lower is better"),
        ({"findings": with_lora(value=0.79, full_value=0.8)}, "percentages beside fractions"),
        ({"findings": [{"samples": 100, "method": "lora", "value": 0.79, "full_value": 0.8}]}, "as a fraction"),
        ({"findings": with_lora(value=179.0)}, "outside 0-100"),
        ({"findings": with_lora(value=None)}, "value"),
        ({"findings": [GOOD["findings"][0], GOOD["findings"][0]]}, "there twice"),
        ({"findings": []}, "no finding"),
        ({"url": "somewhere"}, "not an address"),
        ({"id": "other"}, "other.json"),
        ({"schema": "study/99"}, "newer"),
        ({"schema": "gpu/1"}, "gpu"),
        ({"shared": [1, 2]}, "shared"),
    ],
)
def test_a_bad_study_is_refused_with_the_reason(tmp_path: Path, changes: dict[str, Any], says: str):
    with pytest.raises(BadFile) as refused:
        read_study(put(tmp_path, **changes))
    assert says.lower() in str(refused.value.facts()).lower()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "tiny2026.json"
    path.write_bytes(content)
    with pytest.raises(BadFile):
        read_study(path)


def test_a_metric_that_falls_is_accepted_when_it_says_so(tmp_path: Path):
    findings = with_lora(metric="validation loss", higher_is_better=False, value=1.2, full_value=1.1, unit="nats")
    assert read_study(put(tmp_path, findings=findings)).findings[1].higher_is_better is False


def test_two_studies_with_one_id_are_refused(tmp_path: Path):
    study = read_study(put(tmp_path))
    with pytest.raises(BadFile, match="two studies have the id"):
        merged([study], [study])


@given(st.sampled_from(sorted(KIND_OF)), st.sampled_from(["_", "-"]), st.booleans())
def test_a_method_is_known_however_it_is_spelled(name: str, joint: str, upper: bool):
    spelled = name.replace("-", joint)
    assert our_name(spelled.upper() if upper else spelled) == name


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("full_ft", "full"),
        ("ln_tuning", "layernorm-tuning"),
        ("compacter++", "compacter-plus"),
        ("(IA)3", "ia3"),
        ("lora (r=8)", "lora"),
        ("top2_layers", "partial"),
        ("mam_adapter", "mam"),
    ],
)
def test_a_studys_name_becomes_ours(theirs: str, ours: str):
    assert our_name(theirs) == ours


def test_every_method_of_the_catalogue_is_known_to_the_evidence():
    assert {method.name: our_name(method.name) for method in methods()} == {m.name: m.name for m in methods()}


def test_every_kind_has_a_method_and_no_method_two_kinds():
    assert set(KIND_OF.values()) == set(KINDS)


def test_an_unknown_method_names_the_near_ones():
    with pytest.raises(UnknownName) as refused:
        our_name("lorra")
    assert "lora" in refused.value.fields["near"]


def test_all_values_are_finite():
    for study in load_studies():
        assert all(math.isfinite(finding.value) for finding in study.findings)


@pytest.mark.parametrize(("name", "near"), [("lora", 4), ("zz", 0), ("q", 4)])
def test_no_more_than_four_near_names_are_told(name, near):
    """By their letters, else by what they hold; a list of all is a command away."""
    known = [*(f"lora{k}" for k in range(6)), *(f"a-long-name-with-q-{k}" for k in range(6))]
    found = UnknownName.of("method", name, known, list_with="advisor methods")
    assert len(found.fields["near"]) == near
    assert found.hints[-1] == "to list all: advisor methods"
