"""Damaged files of every kind that advisor reads, each read by the verb that reads it, then mended again.

Models, data, adapters, trainers' configs, answers, the user's own store and a finished search's folder, made whole
once. A damaged file is answered all the same where what is left makes sense, or refused in a sentence; a cache's is
made anew.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError
from benchmarks.hostile_folders import ROOT, whole_model
from benchmarks.random_questions import ask, faults
from benchmarks.well_formed_questions import SHIPPED
from tests.tiny_models import chats, labelled, put_rows

SHIPPED_PROFILES = ROOT / "profiles" / "l40s"
CARD = {"schema": "gpu/1", "name": "MY-CARD", "vendor": "nvidia", "memory_bytes": "24 GiB",
        "bandwidth_bytes_s": "1008 GB/s"}  # fmt: skip
CASE = {"model": SHIPPED[1], "gpu": "A100", "method": "lora", "seq_len": 64, "samples": 900}
ASKED = ["--model", SHIPPED[1], "--gpu", "A100", "--seq-len", "64"]


def make(place: Path) -> Path:
    """All files, whole; once. The store is `place/home`, where ADVISOR_HOME points."""
    root = place / "files"
    if (root / "made").is_file():
        return root
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole_model(place), root / "model")
    data = root / "data"
    data.mkdir()
    put_rows(data / "chats.jsonl", chats(24))
    rows = labelled(24)
    put_rows(data / "labelled.jsonl", rows)
    (data / "labelled.json").write_text(json.dumps(rows))
    (data / "labelled.csv").write_text("text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in rows))
    (data / "labelled.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    _columns(data / "labelled.parquet", rows)
    adapter = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"],
               "task_type": "CAUSAL_LM"}  # fmt: skip
    _put(root / "adapter" / "adapter_config.json", adapter)
    _put(root / "answers" / "case.json", CASE)
    (root / "answers" / "cases.jsonl").write_text(json.dumps(CASE) + "\n")
    for name, words in (
        ("estimate.json", ["estimate", *ASKED, "--method", "lora", "--samples", "900", "--json"]),
        ("recommendation.json", ["recommend", *ASKED, "--method", "lora,full", "--samples", "900", "--json"]),
    ):
        (root / "answers" / name).write_text(ask(words)["out"])
    _put(root / "answers" / "card.json", CARD)
    (root / "configs").mkdir()
    for tool in ("trl", "hf", "axolotl", "llamafactory", "torchtune", "ms-swift"):
        ask(["export", str(root / "answers" / "case.json"), "--to", tool, "-o", str(root / "configs" / tool)])
    _search(root / "search")
    (root / "made").write_text("")
    return root


def _columns(path: Path, rows: list[dict[str, str]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _put(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def _search(folder: Path) -> None:
    """A search that is over, of toy trainings; its processes are the real ones."""
    from advisor.domain.tuning import Budget
    from tests.tuner.studies import begin, resuming

    begin(folder, budget=Budget(trials=2), neighbours=1)
    resuming(folder).communicate(timeout=600)


def store(root: Path) -> None:
    """The user's own store as it is before each case: a profile, a card, prices, a cached trace."""
    home = Path(os.environ["ADVISOR_HOME"])
    shutil.rmtree(home, ignore_errors=True)
    profile = sorted(SHIPPED_PROFILES.glob("*.json"))[0]
    for to, what in (
        (home / "data" / "profiles" / "l40s" / "mine.json", profile),
        (home / "data" / "gpus" / "my-card.json", root / "answers" / "card.json"),
    ):
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(what, to)
    price = {"gpu": "L40S", "provider": "mine", "on_demand_usd_h": 1.0, "read_on": "2026-01-01"}
    _put(home / "config" / "prices.json", {"schema": "prices/1", "prices": [price]})


def readers(path: Path, root: Path) -> Iterator[Callable[[], Any]]:
    """What reads a file: command lines, and the library's own doors where there are more than one."""
    part = path.relative_to(root).parts[0] if path.is_relative_to(root) else "home"
    model = str(root / "model")
    if part == "model":
        from advisor import loading

        yield partial(loading.load_tokenizer, model)
        yield partial(loading.load_model, loading.auto_model("CausalLM"), model)
        data = str(root / "data" / "chats.jsonl")
        yield _words("recommend", "--model", model, "--data", data, "--gpu", "A100", "--method", "lora")
    elif part == "data":
        yield _words("recommend", *ASKED[:4], "--data", str(path), "--method", "lora")
    elif part == "adapter":
        yield _words("estimate", *ASKED, "--adapter-config", str(path))
        yield _words("estimate", "--from-config", str(path), *ASKED)
    elif part == "configs":
        yield _words("estimate", "--from-config", str(path), *ASKED)
    elif part == "answers" and path.name == "card.json":
        yield _words("gpus", "--add", str(path))
    elif part == "answers":
        yield _words("export", str(path), "--to", "trl")
        yield _words("estimate", "--from", str(path))
    elif part == "search":
        yield _words("export", str(root / "search"), "--to", "trl")
        yield _words("tune", "--resume", str(root / "search"))
    else:
        yield _words("estimate", *ASKED[:2], "--gpu", "L40S", "--method", "lora", "--samples", "900")
        yield _words("gpus")
        yield _words("prices")
        # it predicts eighteen runs anew, and tells how far it is
        audit = partial(ask, ["audit", "--gpu", "L40S", "--json"], limit=300.0)
        yield audit if path.name == "mine.json" else _words("evidence")


def _words(*arguments: str) -> Callable[[], Any]:
    return lambda: ask(list(arguments))


def case(number: int, seed: int, place: Path) -> dict[str, Any]:
    """One damaged file, and what was wrong with what its readers said."""
    draw = random.Random(f"{seed}/damaged/{number}")
    # a trial of what a search's folder still lacks is a toy's
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests" / "tuner" / "toy"), str(ROOT)])
    root = make(place)
    store(root)
    victim = drawn(draw, root)
    whole, mode = victim.read_bytes(), victim.stat().st_mode
    how = draw.choice(list(DAMAGE))
    kept = place / "kept"
    if victim.is_relative_to(root / "search"):
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(root / "search", kept, symlinks=True)
    found, outcomes = list[str](), list[str]()
    try:
        DAMAGE[how](victim, whole, draw)
        for read in readers(victim, root):
            try:
                said = read()
            except AdvisorError:
                outcomes.append("refused")
            except Exception as error:
                found.append(f"traceback: {type(error).__name__}: {error}"[:300])
            else:
                if isinstance(said, dict) and "code" in said:
                    found += [f"{f}: {said['err'][-300:]}" for f in faults("damaged", said)]
                    outcomes.append(f"exit {said['code']}")
    finally:
        _mend(victim, whole, mode)
        if kept.is_dir():
            shutil.rmtree(root / "search")
            kept.rename(root / "search")
    named = victim.relative_to(place)
    return {"kind": f"{named.parts[1]}: {how}", "file": str(named), "faults": found, "outcomes": outcomes}


def _mend(victim: Path, whole: bytes, mode: int) -> None:
    if victim.is_dir() and not victim.is_symlink():
        shutil.rmtree(victim)
    else:
        victim.unlink(missing_ok=True)
    victim.parent.mkdir(parents=True, exist_ok=True)
    victim.write_bytes(whole)
    victim.chmod(mode)


def drawn(draw: random.Random, root: Path) -> Path:
    """A file of a part of all, each part as often; a search's costs most and comes less."""
    home = Path(os.environ["ADVISOR_HOME"])
    parts = [root / name for name in ("model", "model", "data", "data", "adapter", "configs", "answers")]
    place = draw.choice([*parts, home, home, root / "search"])
    if place == home and draw.random() < 0.3:
        # a trace is cached by the first question
        ask(["estimate", "--model", str(root / "model"), "--gpu", "A100", "--method", "lora", "--seq-len", "16"])
    return draw.choice(sorted(p for p in place.rglob("*") if p.is_file() and p.name != ".lock"))


def _retyped(whole: bytes, draw: random.Random) -> bytes:
    """One value of a JSON document made another type or size; other files get a few bytes."""
    try:
        document = json.loads(whole)
    except ValueError:
        return _overwritten(whole, draw)
    where: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        part = stack.pop()
        keys = part.keys() if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        for key in keys:
            where.append((part, key))
            stack.append(part[key])
    if where:
        part, key = draw.choice(where)
        part[key] = draw.choice(
            [None, [], {}, "", "x", -1, 0, 1e308, True, [[]], {"a": 1}, "\x1b[2J\u202e", 10**30, "nan", ["x"] * 3]
        )
    return json.dumps(document).encode()


def _overwritten(whole: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(max(1, len(whole)))
    return whole[:at] + draw.randbytes(8) + whole[at + 8 :]


def _newer(whole: bytes, draw: random.Random) -> bytes:
    try:
        document = json.loads(whole)
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {"was": document}
    kind = str(document.get("schema", "x/1")).partition("/")[0]
    return json.dumps(document | {"schema": f"{kind}/99", draw.choice(["version", "format", "a"]): 99}).encode()


def _content(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Path, bytes, random.Random], None]:
    """Damage of what is in a file; of what is packed half the time, else the packed bytes are damaged."""

    def damage(path: Path, whole: bytes, draw: random.Random) -> None:
        if path.suffix == ".gz" and draw.random() < 0.5:
            path.write_bytes(gzip.compress(change(gzip.decompress(whole), draw)))
        else:
            path.write_bytes(change(whole, draw))

    return damage


def _bomb(path: Path, whole: bytes, draw: random.Random) -> None:
    """Two GiB unpacked where it is packed, else 64 MiB of one byte."""
    del whole
    if path.suffix != ".gz":
        path.write_bytes(draw.choice([b"[", b" ", b"\x00", b"a", b"\n"]) * 2**26)
        return
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(128):
            stream.write(bytes(2**24))


def _replaced(make_it: Callable[[Path], object]) -> Callable[[Path, bytes, random.Random], None]:
    def damage(path: Path, whole: bytes, draw: random.Random) -> None:
        del whole, draw
        path.unlink()
        make_it(path)

    return damage


DAMAGE: dict[str, Callable[[Path, bytes, random.Random], None]] = {
    "cut": _content(lambda whole, draw: whole[: draw.randrange(max(1, len(whole)))]),
    "empty": _content(lambda whole, draw: b""),
    "overwritten": _content(_overwritten),
    "retyped": _content(_retyped),
    "retyped again": _content(_retyped),
    "nested": _content(lambda whole, draw: draw.choice([b"[", b'{"a":']) * 10**5),
    "digits": _content(lambda whole, draw: b'{"hidden_size": ' + b"9" * 5000 + b"}"),
    "utf-16": _content(lambda whole, draw: whole.decode("utf-8", "replace").encode("utf-16")),
    "garbage": _content(lambda whole, draw: draw.randbytes(draw.randrange(1, 4096))),
    "newer": _content(_newer),
    "bomb": _bomb,
    "folder": _replaced(lambda path: path.mkdir()),
    "missing": _replaced(lambda path: None),
    "loop": _replaced(lambda path: path.symlink_to(path)),
    "nowhere": _replaced(lambda path: path.symlink_to("/no/such/file")),
    "pipe": _replaced(os.mkfifo),
}
