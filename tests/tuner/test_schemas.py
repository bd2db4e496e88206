"""What studies leave stays readable: a file of every schema number ever written is read by today's type.

A type that changes what its files hold raises VERSION, adds the upgrade, and puts a file of the new number here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor import store
from advisor.domain.tuning import TunedStudy
from advisor.errors import BadFile
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.tune_request import TuneRequest

GOLDEN = Path(__file__).parents[1] / "golden" / "schema"
KINDS = (TunedStudy, TuneRequest, TrainingSpec, TrainingResult)
PAST = [(kind, number) for kind in KINDS for number in range(1, kind.VERSION + 1)]


def path_of(kind, number) -> Path:
    return GOLDEN / f"{kind.KIND}-{number}.json"


@pytest.mark.parametrize(("kind", "number"), PAST, ids=lambda value: getattr(value, "KIND", value))
def test_a_file_of_every_number_reads_as_todays(kind, number):
    document = json.loads(path_of(kind, number).read_text(encoding="utf-8"))
    assert document["schema"] == f"{kind.KIND}/{number}"
    value = store.read(kind, path_of(kind, number))
    assert kind.from_document(value.to_document()) == value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_todays_number_still_writes_every_field_of_its_file(kind):
    """A field taken away or renamed is another schema: whoever wrote a file yesterday must be able to read ours."""
    document = json.loads(path_of(kind, kind.VERSION).read_text(encoding="utf-8"))
    assert set(document) <= set(store.read(kind, path_of(kind, kind.VERSION)).to_document())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_a_file_of_tomorrow_is_refused_and_not_half_read(kind, tmp_path):
    document = json.loads(path_of(kind, kind.VERSION).read_text(encoding="utf-8"))
    later = tmp_path / "later.json"
    later.write_text(json.dumps({**document, "schema": f"{kind.KIND}/{kind.VERSION + 1}"}))
    with pytest.raises(BadFile, match="newer"):
        store.read(kind, later)


def test_every_kind_of_the_tuner_has_its_files():
    from advisor.domain.stored import Stored
    from advisor.training import training_spec as run_spec
    from advisor.tuner import tune_request as request_model

    of_jobs = {
        v
        for v in (*vars(run_spec).values(), *vars(request_model).values())
        if isinstance(v, type) and issubclass(v, Stored) and v is not Stored
    }
    assert of_jobs <= set(KINDS)
