"""The store: what is written is read back, and no failure leaves less than there was."""

from __future__ import annotations

import errno
import gzip
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import store
from advisor.domain.stored import Stored
from advisor.errors import BadFile, StoreUnavailable


class Note(Stored):
    KIND = "note"
    VERSION = 2
    UPGRADES: ClassVar[Any] = {1: lambda old: {"text": old["words"], "size": 3}}

    text: str
    size: int = 0


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@given(text=st.text(), size=st.integers(-(2**53), 2**53), suffix=st.sampled_from(store.SUFFIXES))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, text: str, size: int, suffix: str):
    path = tmp_path_factory.mktemp("n") / f"a{suffix}"
    note = Note(text=text.encode("utf-8", "ignore").decode(), size=size)
    assert store.read(Note, store.write(note, path)) == note


def test_equal_values_make_equal_bytes(tmp_path: Path):
    note = Note(text="same", size=1)
    one, two = (store.write(note, tmp_path / name).read_bytes() for name in ("a.json.gz", "b.json.gz"))
    assert one == two


def test_the_schema_comes_first_in_the_file(tmp_path: Path):
    store.write(Note(text="x"), tmp_path / "a.json")
    assert next(iter(json.loads((tmp_path / "a.json").read_text()))) == "schema"


def test_yesterdays_file_reads_as_todays(tmp_path: Path):
    (tmp_path / "old.json").write_text('{"schema": "note/1", "words": "hi"}')
    assert store.read(Note, tmp_path / "old.json") == Note(text="hi", size=3)


@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        (b"", "", "cut off"),
        (b'{"schema": "note/2", "text": "a', "", "cut off"),
        (b"\x00\xff\xfe binary", "", "not JSON"),
        (b"[1, 2]", "", "not a JSON object"),
        (b'{"text": "a"}', "schema", "schema"),
        (b'{"schema": "other/1", "text": "a"}', "schema", "schema"),
        (b'{"schema": "note/3", "text": "a"}', "schema", "newer"),
        (b'{"schema": "note/x", "text": "a"}', "schema", "schema"),
        (b'{"schema": "note/0", "text": "a"}', "schema", "no upgrade"),
        (b'{"schema": "note/1"}', "schema", "words"),
        (b'{"schema": "note/2", "text": "a", "size": "many"}', "size", "size"),
        (b'{"schema": "note/2", "text": "a", "extra": 1}', "extra", "extra"),
        (b"[" * 200_000, "", "not JSON"),
    ],
)
def test_a_bad_file_is_refused_with_the_field_at_fault(tmp_path: Path, content: bytes, field: str, says: str):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        store.read(Note, path)
    assert caught.value.fields["path"] == str(path)
    assert caught.value.fields["field"] == field
    assert says in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_cut_off_gzip_is_a_bad_file(tmp_path: Path):
    whole = gzip.compress(json.dumps(Note(text="x" * 5000).to_document()).encode())
    for keep in (0, 5, 12, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.json.gz").write_bytes(whole[:keep])
        with pytest.raises(BadFile):
            store.read(Note, tmp_path / "a.json.gz")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path):
    with pytest.raises(BadFile, match="there is no file"):
        store.read(Note, tmp_path / "none.json")


def test_a_folder_in_place_of_a_file_is_a_bad_file(tmp_path: Path):
    with pytest.raises(BadFile):
        store.read(Note, tmp_path)


def test_a_full_disk_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = store.write(Note(text="old"), tmp_path / "a.json")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        store.write(Note(text="new"), path)
    assert store.read(Note, path).text == "old"
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


@pytest.mark.parametrize(("code", "says"), [(errno.EROFS, "read-only"), (errno.EACCES, "permission denied")])
def test_a_read_only_folder_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreUnavailable, match=says):
        store.write(Note(text="x"), tmp_path / "sub" / "a.json")


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        store.write(Note(text="x"), tmp_path / "file" / "a.json")
    assert not store.write_cache(Note(text="x"), tmp_path / "file" / "a.json")


def test_a_corrupt_cache_entry_counts_as_absent_and_is_rebuilt(tmp_path: Path):
    path = tmp_path / "a.json.gz"
    assert store.read_cache(Note, path) is None
    path.write_bytes(b"\x1f\x8b broken")
    assert store.read_cache(Note, path) is None
    assert store.write_cache(Note(text="new"), path)
    assert store.read_cache(Note, path) == Note(text="new")


def _killed_half_way(path: str) -> None:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    store.write(Note(text="new"), path)


def test_a_process_killed_while_writing_leaves_the_old_file_whole(tmp_path: Path):
    path = store.write(Note(text="old"), tmp_path / "a.json")
    process = multiprocessing.get_context("spawn").Process(target=_killed_half_way, args=(str(path),))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert store.read(Note, path).text == "old"
    assert store.listing(tmp_path) == [path], "the unfinished file must not be taken for a result"
    store.write(Note(text="next"), path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".tmp") == [], "the next write clears the litter"


def _count_up(path: str, times: int) -> None:
    for _ in range(times):
        with store.locked(Path(path).parent):
            now = store.read(Note, path)
            store.write(Note(text="n", size=now.size + 1), path)


def test_two_processes_counting_in_one_file_lose_nothing(tmp_path: Path):
    path = store.write(Note(text="n", size=0), tmp_path / "a.json")
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_count_up, args=(str(path), 40)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert store.read(Note, path).size == 80


def _hold(folder: str, ready: Any, done: Any) -> None:
    with store.locked(folder):
        ready.set()
        done.wait(30)


def test_a_lock_kept_by_another_process_is_reported_not_awaited_for_ever(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    process.start()
    try:
        assert ready.wait(30)
        with pytest.raises(StoreUnavailable, match="locked"):
            store.write(Note(text="x"), tmp_path / "a.json", timeout=0.1)
    finally:
        done.set()
        process.join(30)
    store.write(Note(text="x"), tmp_path / "a.json", timeout=5)


def test_find_reads_shipped_then_own_and_passes_over_other_kinds(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
):
    checkout = tmp_path / "checkout"
    (checkout / "advisor").mkdir(parents=True)
    monkeypatch.setattr(store, "PACKAGE", checkout / "advisor")
    store.write(Note(text="beside"), checkout / "notes" / "b" / "1.json")
    store.write_document({"schema": "else/1"}, checkout / "notes" / "other.json")
    store.write(Note(text="own"), own_home / "data" / "notes" / "mine.json.gz")
    assert [v.text for _, v in store.find(Note, "notes")] == ["own"], "beside counts only next to a pyproject.toml"
    (checkout / "pyproject.toml").write_text("")
    assert [v.text for _, v in store.find(Note, "notes")] == ["beside", "own"]
    store.write(Note(text="inside"), checkout / "advisor" / "_data" / "notes" / "1.json")
    assert [v.text for _, v in store.find(Note, "notes")] == ["inside", "own"], "the package wins over the checkout"


def test_one_bad_file_among_good_ones_is_reported_and_the_rest_read(own_home: Path):
    folder = own_home / "data" / "notes"
    store.write(Note(text="good"), folder / "a.json")
    (folder / "b.json").write_text('{"schema": "note/2"')
    with pytest.raises(BadFile):
        list(store.find(Note, "notes"))
    bad: list[BadFile] = []
    assert [v.text for _, v in store.find(Note, "notes", on_bad=bad.append)] == ["good"]
    assert [b.fields["path"] for b in bad] == [str(folder / "b.json")]


def test_a_file_that_is_found_is_read_once(own_home: Path, monkeypatch: pytest.MonkeyPatch):
    path = store.write(Note(text="once"), own_home / "data" / "notes" / "a.json")
    real, asked = store.read_document, list[Path]()

    def counted(place: Any) -> dict[str, Any]:
        asked.append(Path(place))
        return real(place)

    monkeypatch.setattr(store, "read_document", counted)
    assert [note.text for _, note in store.find(Note, "notes")] == ["once"]
    assert asked.count(path) == 1


def test_advisor_home_moves_every_folder(own_home: Path):
    assert {store.home(part) for part in ("data", "cache", "config")} == {
        own_home / "data",
        own_home / "cache",
        own_home / "config",
    }
    assert store.cache_dir() == own_home / "cache"


def test_numbers_that_are_not_json_are_never_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_document({"schema": "note/2", "x": float("nan")}, tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()
