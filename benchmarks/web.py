"""How quick the local page is, and what a burst does to it: `python -m benchmarks.web`.

Promised on an idle 2-core machine: a page interactive in 1 s, a slider's redraw from a known trace in 0.2 s; 10,000
requests in a burst leave it answering. With Chromium installed the first two are measured in it, else by the time of
the answers alone, which is said. Exits with 1 when a promise is broken.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from tests.interfaces.web.chromium import Browser, program

RECIPE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "method": "lora", "samples": "2000"}
REQUESTS, AT_ONCE = 10_000, 200
REDRAW = """new Promise(done => {
  const slider = document.querySelector('#f-NAME ~ input[type=range]'), answer = document.querySelector('#answer');
  const begun = performance.now();
  new MutationObserver((_, one) => { one.disconnect(); requestAnimationFrame(() => done(performance.now() - begun)); })
    .observe(answer, {childList: true});
  slider.value = POSITION; slider.dispatchEvent(new Event('input', {bubbles: true}));
})"""


def main() -> int:
    """Start a page, measure it, and say which promises were kept."""
    with tempfile.TemporaryDirectory() as home:
        own = {**os.environ, "ADVISOR_HOME": home, "HF_HUB_OFFLINE": "1"}
        begun = time.perf_counter()
        command = [sys.executable, "-m", "advisor", "web", "--port", "0"]
        with subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            address = server.stderr.readline().split()[-1].rstrip("/")
            print(f"start to listening            {time.perf_counter() - begun:6.2f} s")
            try:
                kept = [*_in_browser(address, home), _burst(address)]
            finally:
                server.terminate()
    return 0 if all(kept) else 1


def _in_browser(address: str, home: str) -> list[bool]:
    page_address = f"{address}/recipe?{urlencode({**RECIPE, 'seq_len': '512', 'batch_size': '4'})}"
    _settle(page_address)
    if program() is None:
        print("no Chromium here: times are of the server's answers alone")
        return [_said("page", _answers([page_address] * 7), 1.0), _said("slider", _answers(_moved(address)), 0.2)]
    with Browser(Path(home) / "profile") as page:
        loads: list[float] = []
        for _ in range(7):
            page.open(page_address)
            loads.append(page.value("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") / 1e3)
        kept = [_said("page interactive", loads, 1.0)]
        redraws: list[float] = []
        for name, positions in (("batch_size", (0, 3, 1, 4)), ("seq_len", (1, 3, 0, 2))):
            for position in positions:
                page.until("!document.querySelector('.pending')")
                script = REDRAW.replace("NAME", name).replace("POSITION", str(position))
                redraws.append(page.value(script) / 1e3)
        return [*kept, _said("slider redraw", redraws, 0.2)]


def _said(what: str, seconds: list[float], promised: float) -> bool:
    median = statistics.median(seconds)
    kept = median < promised
    print(
        f"{what:28}{median:6.3f} s of {len(seconds)} (worst {max(seconds):.3f})   promised {promised:.1f} s   "
        f"{'kept' if kept else 'BROKEN'}"
    )
    return kept


def _moved(address: str) -> list[str]:
    return [
        f"{address}/recipe?{urlencode({**RECIPE, 'seq_len': length, 'batch_size': batch})}"
        for batch, length in (("1", "512"), ("2", "512"), ("8", "512"), ("4", "256"), ("4", "1024"))
    ]


def _answers(addresses: list[str]) -> list[float]:
    times: list[float] = []
    for one in addresses:
        begun = time.perf_counter()
        with urlopen(Request(one, headers={"HX-Request": "true"}), timeout=60) as answer:
            answer.read()
        times.append(time.perf_counter() - begun)
    return times


def _settle(address: str) -> None:
    """Ask until the exact answer is there."""
    while True:
        with urlopen(address, timeout=60) as answer:
            if b'class="pending"' not in answer.read():
                return


def _burst(address: str) -> bool:
    """Different questions, more at once than are answered: each is answered or told to come again, and none is lost."""
    begun = time.perf_counter()
    statuses, without = asyncio.run(_ask_all(urlsplit(address).port or 80))
    took = time.perf_counter() - begun
    after = _answers([f"{address}/"])[0]
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    print(f"{REQUESTS} requests, {AT_ONCE} at once: {took:.1f} s, {told}; a page after it: {after:.3f} s")
    kept = set(statuses) <= {200, 503} and without == 0 and sum(statuses.values()) == REQUESTS and after < 5
    print(f"{'burst':28}{'kept' if kept else 'BROKEN'} (503 without Retry-After: {without})")
    return kept


async def _ask_all(port: int) -> tuple[Counter[int], int]:
    statuses: Counter[int] = Counter()
    without = 0
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        nonlocal without
        query = urlencode({**RECIPE, "seq_len": str(64 + number % 4000), "batch_size": str(1 + number % 16)})
        async with room:
            try:
                read, write = await asyncio.open_connection("127.0.0.1", port)
                head = (
                    f"GET /recipe?{query} HTTP/1.1",
                    "Host: localhost",
                    "HX-Request: true",
                    "Connection: close",
                    "",
                    "",
                )
                write.write("\r\n".join(head).encode())
                answer = await asyncio.wait_for(read.read(), 120)
                write.close()
                status = int(answer.split(b" ", 2)[1])
                without += status == 503 and b"retry-after" not in answer.lower()
            except (OSError, TimeoutError, IndexError, ValueError):
                status = 0
        statuses[status] += 1

    await asyncio.gather(*(one(number) for number in range(REQUESTS)))
    return statuses, without


if __name__ == "__main__":
    sys.exit(main())
