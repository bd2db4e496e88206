"""What the page works on: each question once, so many waiting and no more, and what died is asked anew."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import psutil
import pytest

from advisor.interfaces.web import job_queue
from advisor.interfaces.web.job_queue import MOST_WAITING, WORKERS, JobQueue, PageJob, QueueFull
from advisor.interfaces.web.worker_process import WorkerProcess


class Slow:
    """A worker that waits until it is let go, and counts."""

    go = threading.Event()
    asked: list[Any]

    def __init__(self) -> None:
        self.ended = False

    def ask(self, verb: str, arguments: dict[str, Any], hear: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        hear({"progress": [1, 2, verb]})
        hear({"row": ["lora", "20.0 GiB", "5 m", "fits"], "of": "MethodOutcome"})
        self.go.wait(10)
        return {"answer": arguments}

    def end(self) -> None:
        self.go.set()


@pytest.fixture
def slow():
    class Own(Slow):
        """Its own counts."""

    Own.go, Own.asked = threading.Event(), []
    queue = JobQueue(Own)
    yield queue, Own
    queue.close()


def reply(job: Any) -> Any:
    return asyncio.run(job.settled(10))


def test_a_question_is_worked_on_once_however_often_it_is_asked(slow):
    queue, worker = slow
    jobs = [queue.ask("estimate", {"b": 1, "a": 2}) for _ in range(50)]
    assert queue.ask("estimate", {"a": 2, "b": 1}) is jobs[0]
    worker.go.set()
    assert reply(jobs[0]) == {"answer": {"a": 2, "b": 1}}
    assert len(worker.asked) == 1
    assert len({id(job) for job in jobs}) == 1
    assert queue.known("estimate", {"a": 2, "b": 1}) is jobs[0]


def test_so_many_wait_and_no_more_and_the_other_lane_is_free(slow):
    queue, worker = slow
    for number in range(WORKERS["slow"]):
        queue.ask("estimate", {"n": number})
    ends = time.monotonic() + 5
    while len(worker.asked) < WORKERS["slow"] and time.monotonic() < ends:
        time.sleep(0.01)
    for number in range(MOST_WAITING["slow"]):
        queue.ask("estimate", {"waits": number})
    with pytest.raises(QueueFull) as full:
        queue.ask("estimate", {"one": "more"})
    assert full.value.retry_after > 0
    quick = queue.ask("quick", {}, "quick")
    assert not queue.idle()
    worker.go.set()
    assert reply(quick) == {"answer": {}}


def test_how_far_a_job_is_can_be_read_while_it_is_worked_on(slow):
    queue, _ = slow
    job = queue.ask("recommend", {})
    ends = time.monotonic() + 5
    while job.progress is None and time.monotonic() < ends:
        time.sleep(0.01)
    assert job.progress == (1, 2, "recommend")
    assert asyncio.run(job.settled(0.01)) is None


def test_a_row_wakes_who_waits_for_it_and_the_rows_of_cards_go_when_methods_come():
    job = PageJob("recommend", {})

    async def one_more(seen: int) -> float:
        begun = time.monotonic()
        threading.Timer(0.05, job.hear, [{"row": ["L4, lora", "9 GiB", "5 m", "fits"], "of": "GpuOption"}]).start()
        assert await job.settled(20, seen) is None
        return time.monotonic() - begun

    assert asyncio.run(one_more(0)) < 10
    assert [row.name for row in job.rows] == ["L4, lora"]
    # who has not seen it waits for nothing
    assert asyncio.run(job.settled(20, 0)) is None
    job.hear({"row": ["dora", "9 GiB", "5 m", "fits"], "of": "MethodOutcome"})
    job.hear({"row": ["full", "90 GiB", "5 m", "does not fit"], "of": "MethodOutcome"})
    assert [row.name for row in job.rows] == ["dora", "full"]


def test_what_nobody_asks_about_any_more_is_not_begun(slow, monkeypatch):
    queue, worker = slow
    monkeypatch.setattr(job_queue, "FORGOTTEN_SECONDS", 0.0)
    jobs = [queue.ask("estimate", {"n": number}) for number in range(6)]
    time.sleep(0.05)
    worker.go.set()
    assert all("broken" in reply(job) for job in jobs[WORKERS["slow"] + 1 :])
    assert len(worker.asked) <= WORKERS["slow"] + 1


def test_a_result_is_kept_for_a_while_and_a_failure_for_less(slow, monkeypatch):
    queue, worker = slow
    worker.go.set()
    first = queue.ask("estimate", {})
    reply(first)
    assert queue.ask("estimate", {}) is first
    monkeypatch.setattr(job_queue, "KEPT_SECONDS", 0.0)
    assert queue.ask("estimate", {}) is not first


def test_only_so_many_results_are_kept(slow, monkeypatch):
    queue, worker = slow
    monkeypatch.setattr(job_queue, "KEPT", 3)
    worker.go.set()
    for number in range(8):
        reply(queue.ask("estimate", {"n": number}))
    assert queue.known("estimate", {"n": 7}) is not None
    assert queue.known("estimate", {"n": 0}) is None


def test_a_worker_that_fails_is_told_to_who_waits_and_the_lane_goes_on():
    class Failing(Slow):
        def ask(self, verb: str, arguments: dict[str, Any], hear: Any) -> dict[str, Any]:
            raise ValueError("no")

    Failing.go, Failing.asked = threading.Event(), []
    queue = JobQueue(Failing)
    for number in range(4):
        assert reply(queue.ask("quick", {"n": number}, "quick"))["broken"]
    queue.close()


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_job_and_is_started_anew():
    worker = WorkerProcess()
    try:
        assert "answer" in worker.ask("ready", {}, lambda *told: None)
        psutil.Process(worker._process.pid).kill()
        psutil.wait_procs([psutil.Process(worker._process.pid)], timeout=5)
        assert "answer" in worker.ask("ready", {}, lambda *told: None)
        wrong = worker.ask("estimate", {"model": "no/such", "gpu": "L4"}, lambda *told: None)
        assert wrong["error"]["exit_code"] == 2
        worker.most_seconds = 0.01
        late = worker.ask(
            "estimate", {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "method": "lora"}, lambda *told: None
        )
        assert "given up" in late["error"]["message"]
    finally:
        worker.end()
    assert "broken" in worker.ask("ready", {}, lambda *told: None)
