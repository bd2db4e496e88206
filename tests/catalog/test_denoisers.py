"""Diffusion models of the catalogue: each name means one model, and each command says so by name."""

from __future__ import annotations

from collections import Counter

import pytest

import advisor
from advisor.catalog.models import models, resolve_model
from advisor.catalog.models.denoisers import denoisers, find_denoiser
from advisor.errors import MissingExtra, UnsupportedModel


def test_no_name_means_two_models():
    names = Counter(name.lower() for entry in denoisers() for name in (entry.id, *entry.aliases))
    assert [name for name, times in names.items() if times > 1] == []
    assert not {name.lower() for entry in models() for name in (entry.id, *entry.aliases)} & names.keys()


def test_every_name_is_found_whatever_the_case():
    for entry in denoisers():
        for name in (entry.id, *entry.aliases):
            assert find_denoiser(f" {name.upper()} ") is entry


def test_published_counts_are_the_numbers_of_the_built_class_or_rounded():
    for entry in denoisers():
        if not entry.count_rule.startswith("rounded"):
            assert entry.parameters == entry.published, entry.id
        assert abs(entry.parameters / entry.published - 1) < 0.12, entry.id


@pytest.mark.parametrize("name", ["black-forest-labs/FLUX.1-dev", "sdxl", "FLUX.2-klein-base-4B"])
def test_a_diffusion_model_is_refused_by_name_and_is_not_called_unknown(name: str):
    with pytest.raises(UnsupportedModel, match="is a diffusion model") as caught:
        resolve_model(name)
    assert caught.value.hints
    with pytest.raises(UnsupportedModel, match="is a diffusion model"):
        advisor.fit(name, "L40S", method="lora")


def test_a_pipeline_folder_says_what_it_is(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match=r"no config\.json") as caught:
        resolve_model(str(tmp_path))
    assert "diffusion pipeline" in " ".join(caught.value.hints)


@pytest.mark.parametrize(
    ("method", "said"), [("frod", "36% less"), ("waveft", "10% more"), ("fourierft", "9% more"), ("lora", "")]
)
def test_a_peak_that_a_public_run_did_not_meet_is_told(method: str, said: str):
    from advisor.estimator.estimate_request import from_case
    from advisor.estimator.precision_request import recipe_asked

    model = resolve_model("flux2-klein", denoisers=True)
    request = from_case({"model": "flux2-klein", "method": method, "gpu": "L40S", "batch_size": 2})
    notes = [note for note in recipe_asked(request, model, None)[1] if "public run" in note]
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)


def test_a_recommendation_of_a_diffusion_model_ends_without_an_export(monkeypatch: pytest.MonkeyPatch):
    from advisor.exporters.export import tools_for
    from advisor.interfaces.terminal.answer import exportable
    from tests.recommender.conftest import make_candidate

    priced = make_candidate("lora")
    workload = priced.workload.model_copy(update={"model": "flux2-klein", "task": "denoising"})
    candidate = priced.model_copy(update={"workload": workload})
    assert tools_for(candidate) == ()
    monkeypatch.setattr("advisor.exporters.export.tools_for", lambda found: ())
    assert exportable(candidate) == ""  # type: ignore[arg-type]


def test_few_pictures_are_seen_as_often_as_a_published_training_sees_its_own():
    from advisor.literature.hyperparameters.denoising_rates import usual_epochs_of_pictures

    assert usual_epochs_of_pictures(20)[0] == 75
    assert usual_epochs_of_pictures(10**6)[0] == 1


def test_without_diffusers_what_to_install_is_said_before_anything_is_priced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("advisor.catalog.models.denoisers.denoiser_index.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="diffusers"):
        advisor.recommend(model="flux-dev", gpu="L40S", samples=20)
    with pytest.raises(MissingExtra, match="diffusers"):
        advisor.estimate(model="flux-dev", gpu="L40S", method="lora")
