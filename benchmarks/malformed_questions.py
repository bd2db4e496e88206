"""Random questions that make no sense, and what each is wrong in; every one is to be refused in one sentence."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.well_formed_questions import models_in

Asked = tuple[list[str], str]
"""The words of a command line, and what is typed at it."""

NUMBERS = {
    "estimate": ("rank", "alpha", "dropout", "batch_size", "gradient_accumulation", "seq_len", "mean_seq_len",
                 "target_len", "num_labels", "samples", "epochs", "learning_rate", "max_grad_norm", "gpus", "headroom",
                 "usd_per_hour"),
    "recommend": ("seq_len", "mean_seq_len", "samples", "epochs", "effective_batch_size", "budget_usd",
                  "deadline_hours", "tolerance_points", "headroom", "usd_per_hour", "max_gpus", "num_labels"),
}  # fmt: skip
NAMES = {
    "estimate": ("method", "gpu", "model", "task", "task_type", "dtype", "base", "optimizer", "trainer", "batching",
                 "attn_implementation", "gpu_like"),
    "recommend": ("method", "gpu", "model", "task", "task_type", "dtype", "base", "optimizer", "trainer", "policy",
                  "attn_implementation", "exclude"),
}  # fmt: skip
NOT_NUMBERS = ("abc", "", " ", "1e", "--", "0x10", "1,5", "1 2", "None", "true", "[]", "\u00bd", "10%", "\x00", "1\n2")
ANY_SIZE = {"max_grad_norm"}
"""Numbers that may be as large as one likes: gradients are then never clipped."""
OUT_OF_RANGE = ("-1", "nan", "inf", "-inf", "1e400", "9" * 40, "-0.5", "1e30", "9" * 5000)
STRANGE_NAMES = (
    "no-such-thing", "", " ", "\x1b[31mred", "a\x00b", "../../etc", "\u202eevil", "x" * 5000, "\u540d\u524d", "--"
)  # fmt: skip


def drawn(draw: random.Random, place: Path) -> tuple[str, list[str], str]:
    """A kind, the words of a command line, and what is typed at it."""
    name, make = draw.choice(list(KINDS.items()))
    arguments, stdin = make(draw, place)
    return name, arguments, stdin


def _base(draw: random.Random, place: Path) -> tuple[str, dict[str, str]]:
    verb = draw.choice(["estimate", "recommend"])
    model = draw.choice(list(models_in(place).values()))
    return verb, {"model": model, "gpu": "A100", "method": "lora", "seq_len": "64"}


def _words(verb: str, options: dict[str, str], *more: str) -> list[str]:
    said = [verb]
    for name, value in options.items():
        said += ["--" + name.replace("_", "-") + "=" + value]
    return [*said, *more]


def _wrong_type(draw: random.Random, place: Path) -> Asked:
    verb, options = _base(draw, place)
    options[draw.choice(NUMBERS[verb])] = draw.choice(NOT_NUMBERS)
    return _words(verb, options), ""


def _out_of_range(draw: random.Random, place: Path) -> Asked:
    verb, options = _base(draw, place)
    name, value = draw.choice(NUMBERS[verb]), draw.choice(OUT_OF_RANGE)
    options[name] = "-1" if name in ANY_SIZE and float(value) > 1e29 else value
    return _words(verb, options), ""


def _unknown_name(draw: random.Random, place: Path) -> Asked:
    verb, options = _base(draw, place)
    options[draw.choice(NAMES[verb])] = draw.choice(STRANGE_NAMES)
    return _words(verb, options), ""


def _unknown_option(draw: random.Random, place: Path) -> Asked:
    verb, options = _base(draw, place)
    return _words(verb, options, draw.choice(["--no-such", "--ranks=3", "-x", "--seq-len", "--=3", "--\x1b[2J"])), ""


def _left_out(draw: random.Random, place: Path) -> Asked:
    verb = draw.choice(["estimate", "recommend", "tune", "profile"])
    return [verb, *draw.choice([[], ["--gpu", "A100"], ["--method", "lora"], ["--json"]])], ""


def _contradiction(draw: random.Random, place: Path) -> Asked:
    model = models_in(place)["llama"]
    config = _file(place, "adapter.json", json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}))
    estimate = ["estimate", "--model", model, "--gpu", "A100"]
    recommend = ["recommend", "--model", model, "--gpu", "A100"]
    return draw.choice(
        [
            [*estimate, "--adapter-config", config, "--rank", "4"],
            [*estimate, "--adapter-config", config, "--method", "ia3"],
            [*estimate, "--method", "lora", "--seq-len", "64", "--mean-seq-len", "65"],
            [*estimate, "--method", "ia3", "--rank", "4"],
            [*estimate, "--method", "full", "--base", "nf4"],
            [*estimate, "--method", "lora", "--task", "vision"],
            [*estimate, "--method", "lora", "--gpus", "8", "--nodes", "3"],
            [*estimate, "--method", "lora", "--gpu-memory", "24GB", "--gpu", "auto"],
            [*estimate, "--method", "lora", "--trainer", "unsloth", "--fused-loss", "cce"],
            [*estimate, "--method", "lora", "--seq-len", "100000"],
            [*recommend, "--budget-usd", "5"],
            [*recommend, "--deadline-hours", "5"],
            [*recommend, "--columns", "text=a"],
            [*recommend, "--method", "lora", "--exclude", "lora"],
            [*recommend, "--method", "prompt-tuning", "--must-merge"],
            [*recommend, "--method", "lora", "--samples", "1000", "--budget-usd", "1e-9"],
            [*recommend, "--count", "2"],
            ["tune", "--resume", "x", "--join", "y"],
            ["tune", "--join", "y"],
            ["tune", "--resume", str(place / "none")],
            ["audit", "--public", "--scheme", "leave-one-device"],
            ["audit", "--plot", "x.txt"],
            ["methods", "lora", "--model", model],
            ["evidence", "--pilot", "1:2"],
            ["evidence", "--target", "0.5"],
            ["evidence", "--pilot", "5:0.5,5:0.6", "--target", "0.9"],
            ["evidence", "--curve", "lora"],
            ["evidence", "--settings"],
        ]
    ), ""


def _bad_data(draw: random.Random, place: Path) -> Asked:
    """A file that is no file of rows."""
    _, options = _base(draw, place)
    return _words("recommend", options | {"data": _bad_file(draw, place)}), ""


def _bad_model(draw: random.Random, place: Path) -> Asked:
    folder = place / f"model-{draw.randrange(10**6)}"
    folder.mkdir(parents=True, exist_ok=True)
    content = draw.choice(
        [b"", b"{", b"[]", b"3", b"null", bytes(range(256)), b'{"a":' * 10**5, b'{"hidden_size": ' + b"9" * 5000 + b"}",
         '{"model_type": "llama"}'.encode("utf-16"), b'{"model_type": 3}', b'{"model_type": "no-such-type"}',
         b'{"model_type": "llama", "hidden_size": -4}', b'{"model_type": "llama", "num_hidden_layers": "many"}',
         b'{"model_type": "llama", "hidden_size": 1e400}', b'{"model_type": ["llama"]}']
    )  # fmt: skip
    (folder / "config.json").write_bytes(content)
    verb = draw.choice(["estimate", "recommend"])
    return [verb, "--model", str(folder), "--gpu", "A100", "--method", "lora"], ""


def _bad_adapter(draw: random.Random, place: Path) -> Asked:
    model = models_in(place)["llama"]
    if draw.random() < 0.5:
        path = _bad_file(draw, place)
    else:
        path = _file(
            place,
            "adapter-bad.json",
            draw.choice(
                ['{"peft_type": 3}', '{"peft_type": "NOPE"}', "{}x", '{"peft_type": "LORA", "r": "many"}', "[]",
                 '{"peft_type": "LORA", "r": -1}', '{"peft_type": "LORA", "target_modules": ["no_such"]}',
                 '{"peft_type": "LORA", "r": 1e999}', '{"peft_type": "LORA", "target_modules": "["}', '{"r": 4}']
            ),
        )  # fmt: skip
    return ["estimate", "--model", model, "--gpu", "A100", "--seq-len", "64", "--adapter-config", path], ""


def _bad_case(draw: random.Random, place: Path) -> Asked:
    """Lines of `estimate --from` none of which is a question."""
    line = draw.choice(
        ["{", "[]", "3", '{"model": 3}', '{"model": "x", "gpu": "A100", "method": "lora"}', "null", '{"a": 1}', "\x00",
         '{"model": "x", "gpu": ["A100"]}', '{"method": {}}', '{"seq_len": "' + "9" * 5000 + '"}', "[" * 10**5, ""]
    )  # fmt: skip
    if draw.random() < 0.5:
        return ["estimate", "--from", "-"], line
    return ["estimate", "--from", draw.choice([_file(place, "cases.jsonl", line), _bad_file(draw, place)])], ""


def _bad_verb_file(draw: random.Random, place: Path) -> Asked:
    """Other verbs' files."""
    path = _bad_file(draw, place)
    model = models_in(place)["llama"]
    return draw.choice(
        [
            ["gpus", "--add", path],
            ["profile", "--campaign", path, "--device", "cpu", "--dry-run"],
            ["profile", "--model", model, "--method", "lora", "--batch-size", "x", "--device", "cpu", "--dry-run"],
            ["profile", "--model", model, "--method", "lora", "--time-budget", "soon", "--device", "cpu", "--dry-run"],
            ["profile", "--model", model, "--method", "nope", "--device", "cpu", "--dry-run"],
            ["profile", "--model", model, "--method", "lora", "--device", "tpu", "--dry-run"],
            ["study", path, "--dry-run"],
            ["study", "no-such-study", "--dry-run"],
            ["study", "--resume", path],
            ["tune", "--model", model, "--data", path, "--trials", "1", "--dry-run"],
            ["tune", "--model", model, "--data", path, "--trials", "nan"],
            ["tune", "--resume", path],
            ["tune", "--join", "x", "--storage", draw.choice(["nonsense", "sqlite:///" + path, "nosuch://x", ""])],
            ["calibrate", "--gpu", "no-such-gpu", "--dry-run"],
            ["audit", "--gpu", "no-such-gpu"],
            ["methods", "no-such-method"],
            ["methods", "--family", "nope"],
            ["evidence", "--method", "no-such-method"],
            ["evidence", "--samples", "many"],
            ["evidence", "--task-type", "nope"],
            ["evidence", "--limit", "0"],
            ["evidence", "--predict", path],
            ["no-such-verb"],
        ]
    ), ""


KINDS: dict[str, Callable[[random.Random, Path], Asked]] = {
    "wrong type": _wrong_type,
    "out of range": _out_of_range,
    "unknown name": _unknown_name,
    "unknown option": _unknown_option,
    "left out": _left_out,
    "contradiction": _contradiction,
    "bad data": _bad_data,
    "bad model": _bad_model,
    "bad adapter config": _bad_adapter,
    "bad case": _bad_case,
    "bad file of another verb": _bad_verb_file,
}


def _file(place: Path, name: str, content: str) -> str:
    path = place / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def _bad_file(draw: random.Random, place: Path) -> str:
    """A path at which no whole file of anything lies."""
    bomb = place / "bomb.jsonl.gz"
    if not bomb.exists():
        with gzip.open(bomb, "wb") as stream:
            for _ in range(40):
                stream.write(bytes(2**24))
    made = {
        "missing": place / "none.jsonl",
        "folder": place / "models",
        "device": Path("/dev/full"),
        "nul": Path("a\x00b.jsonl"),
        "long": Path("x" * 5000 + ".jsonl"),
        "bomb": bomb,
        "below a file": bomb / "x.jsonl",
    }
    contents = {
        "empty": b"",
        "blank": b"\n \n\t\n",
        "binary": bytes(range(256)) * 20,
        "cut": b'{"text": "a"}\n{"text": ',
        "numbers": b"1\n2\n3\n",
        "nested": b"[" * 10**5,
        "deep": b'{"a":' * 10**5,
        "digits": b'{"text": ' + b"9" * 5000 + b"}\n",
        "nulls": b"\x00" * 1000,
        "no rows": b"[]",
        "no columns": b"{}\n{}\n",
        "half gzip": gzip.compress(b'{"text": "a"}\n' * 99)[:-20],
        "pickle": b"\x80\x04\x95\x00.",
        "strange columns": b'{"q\\u001b[31m": 3}\n' * 12,
    }
    kind = draw.choice([*made, *contents])
    if kind in made:
        return str(made[kind])
    path = place / f"{kind.replace(' ', '-')}.jsonl"
    path.write_bytes(contents[kind])
    if kind == "half gzip":
        path = path.rename(path.with_suffix(".jsonl.gz"))
    return str(path)
