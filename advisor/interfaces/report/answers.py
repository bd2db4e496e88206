"""The pages of `recommend` and `estimate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import advisor
from advisor.domain.candidate import Candidate, Quality
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recommendation import Recommendation
from advisor.domain.units import gib
from advisor.interfaces import verdict
from advisor.interfaces.amounts import show
from advisor.interfaces.asked import machine_of, model_of
from advisor.interfaces.report import accuracy_figures, choice_figures, memory_figures
from advisor.interfaces.report.figure import Figure
from advisor.interfaces.report.page import Page, Section, figures

SIZES: Final = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Numbers of samples at which quality is asked."""


def page_of_recommendation(found: Recommendation) -> Page:
    """Everything that a recommendation rests on, the choice's own pictures first."""
    choice = found.choice
    hardware, spec = found.hardware, model_of(choice)
    sections = [
        *figures(_of_memory(choice, hardware, spec)),
        Section.of(choice_figures.tradeoffs(found)),
        *_settings(found),
        Section("Why", lines=found.why),
        *([Section("What would change it", lines=found.would_change)] if found.would_change else []),
        *figures(_of_quality(choice, spec)),
        *figures([_accuracy(choice.gpu)]),
    ]
    if found.refused:
        rows = tuple((one.method, one.kind, one.reason) for one in found.refused)
        sections.append(Section("Not offered", heads=("method", "because", ""), rows=rows))
    sections.append(_sources(choice, tuple((s.name, source) for s in found.settings for source in s.sources)))
    return Page(
        verdict.of_recommendation(found),
        tuple(verdict.facts(choice, spot=found.spot)),
        tuple(sections),
        (f"policy: {found.policy}", *found.notes),
    )


def page_of_candidate(candidate: Candidate) -> Page:
    """Everything that an estimate rests on."""
    hardware, spec = machine_of(candidate), model_of(candidate)
    memory = candidate.memory
    rows = (
        ("peak on the device", show(memory.peak_device), memory.peak_device.why),
        ("reserved", show(memory.peak_reserved), memory.peak_reserved.why),
        ("allocated", show(memory.peak_allocated), memory.peak_allocated.why),
        ("one step", show(candidate.time.step), candidate.time.step.why),
        ("throughput", show(candidate.time.tokens_per_second), ""),
    )
    sections = [
        *figures(_of_memory(candidate, hardware, spec)),
        Section("Figures and their basis", heads=("", "expected (9 in 10)", "basis"), rows=rows),
        *figures(_of_quality(candidate, spec)),
        *figures([_accuracy(candidate.gpu)]),
        _sources(candidate, ()),
    ]
    facts = tuple(verdict.facts(candidate))
    return Page(
        verdict.of_candidate(candidate), facts, tuple(sections), (*candidate.time.advice, *candidate.assumptions)
    )


def _of_memory(candidate: Candidate, hardware: Hardware | None, spec: ModelSpec | None) -> Iterator[Figure | None]:
    from advisor.estimator.memory.feasibility import feasibility
    from advisor.estimator.memory.step_memory import step_memory

    if hardware is None or spec is None:
        return
    yield memory_figures.timeline(step_memory(candidate, hardware, spec), candidate)
    cells = feasibility(candidate, hardware, spec)
    yield memory_figures.wall(cells, candidate) if cells else None


def _of_quality(candidate: Candidate, spec: ModelSpec | None) -> Iterator[Figure | None]:
    if spec is None or candidate.quality is None or candidate.recipe.method == "full":
        return
    from advisor.catalog.methods import find_method

    workload = candidate.workload
    names = find_method(candidate.recipe.method).evidence_names or (candidate.recipe.method,)
    found = advisor.evidence(
        method=names[0], task_type=workload.task_type, architecture=spec.architecture, samples=workload.samples,
        model_parameters=candidate.total_parameters, limit=None,
    )  # fmt: skip
    yield choice_figures.studies(found.bearing, candidate)
    yield choice_figures.by_data_size({n: _quality_at(candidate, spec, n) for n in SIZES}, candidate)


def _quality_at(candidate: Candidate, spec: ModelSpec, samples: int) -> Quality:
    from advisor.estimator.estimate import quality_of

    counts = candidate.total_parameters, candidate.trainable_parameters
    return quality_of(candidate.workload, candidate.recipe, spec, *counts, samples)


def _accuracy(gpu: str) -> Figure | None:
    """How far off this card's predictions were, or, where it was never measured, those of the one that was."""
    from advisor.estimator.measurements import calibration_of

    own = calibration_of(gpu)
    measured = own or calibration_of("L40S")
    if measured is None:
        return None
    return accuracy_figures.held_out(measured.held_out, measured.device, here=own is not None)


def _settings(found: Recommendation) -> Iterator[Section]:
    if not found.settings:
        return
    rows = tuple(
        (
            setting.name,
            verdict.said_value(setting),
            f"{setting.low:g}–{setting.high:g}" if setting.low is not None and setting.high is not None else "",
            setting.why,
        )
        for setting in found.settings
    )
    yield Section("Settings to start with", heads=("setting", "value", "range", "why"), rows=rows)


def _sources(candidate: Candidate, settings: tuple[tuple[str, str], ...]) -> Section:
    """Where the numbers come from: studies, settings, prices; and the libraries that the prediction holds for."""
    studies = candidate.quality.citations if candidate.quality else ()
    links = [(citation.url, f"{citation.says} ({citation.weight:.0%} of all movement)") for citation in studies]
    links += [(source, name) for name, source in settings]
    links += [
        (offer.price.source.address, f"price, {offer.price.provider}, read {offer.read_on or 'on an unknown day'}")
        for offer in candidate.money.offers[:3]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in candidate.versions.items())
    parts = f"limit {gib(candidate.limit_bytes)} on {candidate.gpu}"
    return Section("Sources", lines=(f"holds for {versions}; {parts}",), links=tuple(dict.fromkeys(links)))
