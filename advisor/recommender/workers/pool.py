"""All methods of a question fitted: from memory, else in worker processes, since fitting is Python work."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO, Final, TypeVar

from advisor import processes
from advisor.catalog.methods import find_method
from advisor.domain.recommendation import Refusal
from advisor.recommender.cache import keep, recall
from advisor.recommender.hyperparameters import with_settings
from advisor.recommender.recommend_request import ResolvedRequest
from advisor.recommender.sizing import Costs, Estimator, MethodOutcome, OnPriced
from advisor.recommender.workers.method_worker import fit_or_say

WORKERS: Final = 2
"""Each loads torch, transformers and peft, most of a GiB; two stay under the promised 2.5 GiB together."""

WORTH_STARTING: Final = 4
"""Methods from which on workers pay for their start."""

Answer = TypeVar("Answer")

Progress = Callable[[int, int, str], None]
"""Told (done, total, what) as the work goes on."""


def fit_all(
    question: ResolvedRequest,
    names: Sequence[str],
    costs: Costs,
    on_progress: Progress | None = None,
    on_priced: OnPriced | None = None,
) -> dict[str, MethodOutcome]:
    """The outcome of each method, in the order of `names`: remembered, else worked out and remembered.

    Args:
        on_priced: told each outcome as it is there, those remembered first; never by two threads at once.
    """
    tell = on_progress or silent
    show = on_priced or unseen
    real = isinstance(costs, Estimator)
    known = recall(question) if real else {}
    for name in names:
        if name in known:
            show(known[name])
    wanted = [name for name in names if name not in known]
    asked = with_settings(question, wanted)
    if real and len(wanted) >= WORTH_STARTING and (os.cpu_count() or 1) > 1 and sys.executable:
        found = _in_processes(asked, wanted, min(WORKERS, os.cpu_count() or 1), tell, show)
    else:
        found = _here(asked, wanted, costs, tell, show)
    if real and found:
        keep(question, {**known, **found})
    return {name: known[name] if name in known else found[name] for name in names}


def _here(
    question: ResolvedRequest, names: Sequence[str], costs: Costs, tell: Progress, show: OnPriced
) -> dict[str, MethodOutcome]:
    found: dict[str, MethodOutcome] = {}
    for name in names:
        tell(len(found), len(names), name)
        found[name] = fit_or_say(question, name, costs)
        show(found[name])
    tell(len(names), len(names), "")
    return found


def silent(done: int, total: int, what: str) -> None:
    """A Progress that nobody hears."""
    del done, total, what


def unseen(outcome: object) -> None:
    """An OnPriced that nobody sees."""
    del outcome


def _in_processes(
    question: ResolvedRequest, names: Sequence[str], workers: int, tell: Progress, show: OnPriced
) -> dict[str, MethodOutcome]:
    one_at_a_time = threading.Lock()

    def read(name: str, answer: str, reason: str) -> MethodOutcome:
        refusal = None if answer else Refusal(method=name, reason=reason, kind="error")
        outcome = MethodOutcome.model_validate_json(answer) if answer else MethodOutcome(method=name, refusal=refusal)
        with one_at_a_time:
            show(outcome)
        return outcome

    opening = opening_line(question)
    return map_in_processes(names, "advisor.recommender.workers.method_worker", opening, read, workers, tell)


def opening_line(question: ResolvedRequest) -> str:
    """What a worker is told first. No dump of a workload holds the lengths of its rows, so they go beside it.

    Of the request only what the user said: what was left open follows the objective, there as here.
    """
    told = question.model_dump(mode="json")
    told["request"] = question.request.model_dump(mode="json", exclude_unset=True)
    return json.dumps([json.dumps(told), question.workload.length_quantiles])


def map_in_processes(
    names: Sequence[str],
    module: str,
    opening: str,
    read: Callable[[str, str, str], Answer],
    workers: int,
    tell: Progress,
) -> dict[str, Answer]:
    """What worker processes answer for each name, in the order of `names`.

    Args:
        module: run as `python -m`; it is sent `opening`, then one name as JSON a line, and answers each with a line.
        read: makes the answer of (name, line, reason); the line is empty where the worker died, of the reason.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    # methods that the tracer cannot unroll take longest: first, so that none of them is left for the end
    for name in sorted(names, key=lambda name: find_method(name).unrolls):
        waiting.put(name)
    found: dict[str, Answer] = {}
    stopped = threading.Event()
    crew = [_Worker(module, opening) for _ in range(workers)]

    def serve(worker: _Worker) -> None:
        while not stopped.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            tell(len(found), len(names), name)
            found[name] = read(name, *worker.ask(name))
            tell(len(found), len(names), name)

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=0.2)
    finally:
        stopped.set()
        for worker in crew:
            worker.end()
    tell(len(names), len(names), "")
    return {name: found[name] for name in names}


class _Worker:
    """A worker process, started again if it died; what it prints is kept for the reason it died of."""

    def __init__(self, module: str, opening: str) -> None:
        self.module = module
        self.opening = opening
        self.process: subprocess.Popen[str] | None = None
        self.said: IO[str] | None = None

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None:
            self.said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
            self.process = processes.spawn(
                self.module,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.said,
                extra={"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
                text=True,
            )
            _write(self.process, self.opening)
        return self.process

    def ask(self, name: str) -> tuple[str, str]:
        """The worker's answer; or nothing, and the reason it died of."""
        try:
            process = self._running()
            _write(process, json.dumps(name))
            assert process.stdout is not None
            answer = process.stdout.readline()
        except (OSError, ValueError):
            # ValueError: it was ended by us, its pipes with it
            answer = ""
        if answer:
            return answer, ""
        reason = self._last_words()
        self.end()
        return "", reason

    def _last_words(self) -> str:
        process, said = self.process, self.said
        if process is None or said is None:
            return "its worker process was ended"
        try:
            code = process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "its worker process closed its answers and went on"
        try:
            said.seek(0)
            last = processes.last_line(said.read())
        except ValueError:
            last = ""
        killed = " (killed: out of memory?)" if processes.killed(code) else ""
        return f"its worker process ended with code {code}{killed}{': ' if last else ''}{last}"

    def end(self) -> None:
        if self.process is not None:
            processes.end_group(self.process)
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if self.said is not None:
            self.said.close()
        self.process = self.said = None


def _write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
