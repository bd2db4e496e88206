"""Two versions of advisor, or of Optuna, on one study: the older says that it cannot read the newer's, and stops."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from advisor.errors import AdvisorError, BadFile
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import check_storage, open_storage, storage_url
from advisor.tuner.tune import join
from advisor.tuner.tune_request import TuneRequest
from tests.tuner.studies import begin, toy_request


def newer(study) -> None:
    document = study.user_attrs[ledger.REQUEST]
    study.set_user_attr(
        ledger.REQUEST, document | {"schema": f"{TuneRequest.KIND}/{TuneRequest.VERSION + 1}", "a_new_field": 1}
    )


def test_a_study_of_a_newer_version_is_not_gone_on_with(tmp_path):
    url = storage_url(None, tmp_path)
    newer(begin(tmp_path))
    request, _ = toy_request()
    for attempt in (
        lambda: ledger.load("toy", url),
        lambda: ledger.create(request, url),
        lambda: join("toy", url, out=str(tmp_path / "other")),
    ):
        with pytest.raises(BadFile, match="version of advisor") as caught:
            attempt()
        assert "newer" in caught.value.cause
        assert any("upgrade" in hint for hint in caught.value.hints)


def test_what_is_no_request_at_all_is_said_to_be_none(tmp_path):
    study = begin(tmp_path)
    for strange in ([], "text", {}, {"schema": "other/1"}):
        study.set_user_attr(ledger.REQUEST, strange)
        with pytest.raises(BadFile):
            ledger.load("toy", storage_url(None, tmp_path))


def test_tables_of_another_version_of_optuna_are_said_to_be_so(tmp_path):
    begin(tmp_path)
    url = storage_url(None, tmp_path)
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE version_info SET schema_version = 9999"))
        connection.execute(text("UPDATE alembic_version SET version_num = 'v99.0.0'"))
    with pytest.raises(BadFile, match="another version of Optuna") as caught:
        open_storage(url)
    assert "upgrad" in caught.value.cause or "updating" in caught.value.cause


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "sqlite://", "sqlite:///{0}/no/folder/x.db", "grpc://host"])
def test_a_wrong_storage_is_refused_before_anything_is_worked_out(url: str, tmp_path, monkeypatch):
    from advisor.tuner import tune as door

    monkeypatch.setattr(door, "make_request", lambda *_, **__: pytest.fail("worked out first"))
    with pytest.raises(AdvisorError) as caught:
        door.tune("model", "rows.jsonl", gpu="cpu", storage=url.format(tmp_path))
    assert caught.value.exit_code in (2, 4)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" * 99)
    for check in (check_storage, open_storage):
        with pytest.raises(BadFile):
            check(f"sqlite:///{path}")
    journal = tmp_path / "x.journal"
    journal.write_text("no journal\n")
    with pytest.raises(AdvisorError):
        ledger.load("toy", f"journal:{journal}")
    assert path.read_text() == "{}\n" * 99


def test_looking_at_a_storage_makes_none(tmp_path):
    check_storage(None)
    check_storage(f"sqlite:///{tmp_path}/x.db")
    check_storage(f"journal:{tmp_path}/x.log")
    assert list(tmp_path.iterdir()) == []
