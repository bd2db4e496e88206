"""What the page works on: each question once, a bounded number waiting, results kept for a while.

Two lanes: quick questions (known traces) never wait behind slow ones. A question that nobody asks about any more is
dropped before it is begun.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Literal, Protocol

from advisor.bug_log import bug_line
from advisor.interfaces.priced_row import PricedRow
from advisor.interfaces.web.worker_process import Hear, Reply, WorkerProcess, broken

Lane = Literal["quick", "slow"]
WORKERS: Final[dict[Lane, int]] = {"quick": 1, "slow": 2}
"""Processes of each lane; a slow one loads torch where it has to trace, most of a GiB."""
MOST_WAITING: Final[dict[Lane, int]] = {"quick": 32, "slow": 12}
KEPT: Final = 256
"""Results kept, the last asked about."""
KEPT_SECONDS: Final = 600.0
"""A result is given again for so long; prices and calibrations may change after."""
BROKEN_SECONDS: Final = 20.0
FORGOTTEN_SECONDS: Final = 60.0
"""A waiting question that nobody has asked about for so long is not begun."""


class Answerer(Protocol):
    """What works on jobs, one at a time."""

    def ask(self, verb: str, arguments: dict[str, Any], hear: Hear) -> Reply: ...

    def end(self) -> None: ...


class QueueFull(Exception):
    """Too many questions wait; to be asked again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many questions are being worked on")
        self.retry_after = retry_after


class PageJob:
    """One question: what it asks, how far it is, the rows priced so far, and its reply."""

    def __init__(self, verb: str, arguments: dict[str, Any]) -> None:
        self.verb, self.arguments = verb, arguments
        self.progress: tuple[int, int, str] | None = None
        self.rows: tuple[PricedRow, ...] = ()
        self._rows_of = ""
        self._one_more: Future[None] = Future()
        self.reply: Future[Reply] = Future()
        self.begun = self.asked = time.monotonic()
        self.value: Any = None
        """What a reader made of the answer, kept beside it."""

    @property
    def seconds(self) -> float:
        """Since it was first asked."""
        return time.monotonic() - self.begun

    def hear(self, message: Mapping[str, Any]) -> None:
        """What its worker says before the reply; rows of cards go when those of the chosen card's methods come."""
        if "row" not in message:
            done, total, what = message["progress"]
            self.progress = (done, total, what)
            return
        before = self.rows if message["of"] == self._rows_of else ()
        self._rows_of = message["of"]
        self.rows = (*before, PricedRow(*message["row"]))
        told, self._one_more = self._one_more, Future()
        told.set_result(None)

    async def settled(self, seconds: float, seen: int | None = None) -> Reply | None:
        """The reply, waited for so long; None where there is none yet.

        Args:
            seen: how many rows who asks has: as soon as there are others, nothing more is waited for.
        """
        if self.reply.done():
            return self.reply.result()
        awaited: list[Future[Any]] = [self.reply]
        if seen is not None:
            awaited.append(self._one_more)
            if len(self.rows) != seen:
                return None
        wrapped = [asyncio.wrap_future(one) for one in awaited]
        await asyncio.wait(wrapped, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return self.reply.result() if self.reply.done() else None

    def stale(self) -> bool:
        """Whether it has to be asked anew."""
        if not self.reply.done():
            return False
        kept = BROKEN_SECONDS if self.reply.result().get("broken") else KEPT_SECONDS
        return self.seconds > kept


class JobQueue:
    """Threads that each hold a worker process; safe to ask from any thread."""

    def __init__(self, make_worker: Callable[[], Answerer] = WorkerProcess) -> None:
        self._known: OrderedDict[str, PageJob] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: dict[Lane, queue.Queue[PageJob | None]] = {
            lane: queue.Queue(most) for lane, most in MOST_WAITING.items()
        }
        self._workers: list[tuple[Lane, Answerer]] = [
            (lane, make_worker()) for lane, count in WORKERS.items() for _ in range(count)
        ]
        for lane, worker in self._workers:
            threading.Thread(target=self._serve, args=(lane, worker), daemon=True).start()

    def ask(self, verb: str, arguments: dict[str, Any], lane: Lane = "slow") -> PageJob:
        """The job of a question, the same for all who ask it.

        Raises:
            QueueFull: as many wait as may.
        """
        key = _key(verb, arguments)
        with self._lock:
            known = self._known.get(key)
            if known is not None and not known.stale():
                known.asked = time.monotonic()
                self._known.move_to_end(key)
                return known
            job = PageJob(verb, arguments)
            try:
                self._waiting[lane].put_nowait(job)
            except queue.Full:
                raise QueueFull(1 if lane == "quick" else 5) from None
            self._known[key] = job
            self._forget()
            return job

    def known(self, verb: str, arguments: dict[str, Any]) -> PageJob | None:
        """The job of a question that is answered already."""
        with self._lock:
            job = self._known.get(_key(verb, arguments))
        return job if job is not None and job.reply.done() and not job.stale() else None

    def idle(self) -> bool:
        """Whether no slow question waits: room for what may be asked next."""
        return self._waiting["slow"].empty()

    def close(self) -> None:
        """End every worker; what was waiting is answered with that."""
        self._closed = True
        for lane, worker in self._workers:
            worker.end()
            while not self._waiting[lane].empty():
                job = self._waiting[lane].get()
                if job is not None:
                    job.reply.set_result(broken("the page was closed"))
            self._waiting[lane].put(None)

    def _forget(self) -> None:
        """Drop the results asked about longest ago; what is being worked on stays."""
        for key in [key for key, job in self._known.items() if job.reply.done()][: max(0, len(self._known) - KEPT)]:
            del self._known[key]

    def _serve(self, lane: Lane, worker: Answerer) -> None:
        while not self._closed:
            job = self._waiting[lane].get()
            if job is None:
                return
            if time.monotonic() - job.asked > FORGOTTEN_SECONDS:
                job.reply.set_result(broken("nobody asked about this any more; ask again"))
                continue
            try:
                reply = worker.ask(job.verb, job.arguments, job.hear)
            except Exception as error:
                # whoever waits is told, and the lane goes on
                reply = broken(f"advisor failed on this, which is a bug: {bug_line(error)}")
            job.reply.set_result(reply)


def _key(verb: str, arguments: dict[str, Any]) -> str:
    return json.dumps([verb, arguments], sort_keys=True)
