"""A headless Chromium, told what to do over its own pipe (the DevTools protocol), without any library between."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS: Final = 60.0


def program() -> str | None:
    """The browser of this machine; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a browser of its own; `with Browser(folder) as page`."""

    def __init__(self, folder: Path, *, width: int = 1280, dark: bool = False) -> None:
        self.folder, self.width, self.dark = folder, width, dark
        self.told: list[dict[str, Any]] = []
        """What the browser said without being asked: errors of scripts, of the content's policy ..."""
        self._number, self._rest = 0, b""

    def __enter__(self) -> Browser:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        words = [program() or "chromium", *flags, f"--user-data-dir={self.folder}", "about:blank"]
        line = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", *words], pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session: str = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")
        size = {"width": self.width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.do("Emulation.setDeviceMetricsOverride", size)
        if self.dark:
            self.do("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def do(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """One command of the protocol to the page."""
        return self._ask(method, parameters or {}, self._session)

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.do("Page.navigate", {"url": address})
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, script: str) -> Any:
        """What a script comes to; a promise is waited for."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
        found = self.do("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, script: str, seconds: float = SECONDS) -> None:
        """Wait until a script comes to something true."""
        ends = time.monotonic() + seconds
        while not self.value(script):
            if time.monotonic() > ends:
                raise AssertionError(f"not within {seconds:g} s: {script}\n{self.value('document.body.innerText')}")
            time.sleep(0.05)

    def press(self, key: str, code: int) -> None:
        """A key, pressed and let go."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        # only a key with a text sends a form
        down = {"type": "keyDown", "text": "\r"} if key == "Enter" else {"type": "rawKeyDown"}
        for kind in (down, {"type": "keyUp"}):
            self.do("Input.dispatchKeyEvent", {**told, **kind})

    def _ask(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(asked | ({"sessionId": session} if session else {})).encode() + b"\0")
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            message = self._message(ends)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.told.append(message["params"])
        raise AssertionError(f"no answer to {method}")

    def _message(self, ends: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, ends - time.monotonic()))
            assert ready, "the browser is silent"
            part = os.read(self._from, 65536)
            assert part, "the browser has ended"
            self._rest += part
        whole, _, self._rest = self._rest.partition(b"\0")
        return json.loads(whole)
