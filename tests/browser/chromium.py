# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A headless Chromium, driven over the pipes of its DevTools protocol with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import select
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

TIMEOUT = 20.0
"""Seconds until an answer must arrive."""

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--disable-default-apps", "--mute-audio", "--hide-scrollbars"),
)


class Chromium:
    """One browser with one page.

    :param profile: an empty directory for the files of the browser.
    """

    def __init__(self, profile: pathlib.Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4.
        redirect = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, "bash", "chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
            pass_fds=(to_browser, from_browser),
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer, self._session, self._scripted = 0, b"", "", True
        self.events: list[dict[str, Any]] = []
        (target,) = [each for each in self.send("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self._session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Performance.enable", timeDomain="threadTicks")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)  # the browser ends when its command pipe is closed
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    # --- actions of a test ---

    def open(self, path: pathlib.Path) -> float:
        """Load a file and return the seconds until it is parsed, laid out and painted."""
        self.events.clear()
        begin = time.monotonic()
        self.send("Page.navigate", url=path.as_uri())
        self._until(lambda: any(event.get("method") == "Page.loadEventFired" for event in self.events))
        if self._scripted:
            self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - begin

    def show_as(self, width: int, theme: str = "light", height: int = 900) -> None:
        """Set the size of the screen, in pixels, and the theme of the system."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def without_script(self, without: bool) -> None:
        """Disable or enable scripts, from the next page on."""
        self._scripted = not without
        self.send("Emulation.setScriptExecutionDisabled", value=without)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression.

        :raises AssertionError: the expression throws an exception.
        """
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(done["exceptionDetails"])
        return done["result"].get("value")

    def key(self, name: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=KEYS.get(name, 0))

    def point(self, x: float, y: float, click: bool = False) -> None:
        """Move the mouse to a point of the window, and click there if wanted."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def work(self) -> float:
        """Return the processor time of the page so far, in seconds: parsing, script, style, layout, painting."""
        metrics = {metric["name"]: metric["value"] for metric in self.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    def screenshot(self) -> bytes:
        """Return the complete page as PNG."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        answer = self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(answer["data"])

    def console(self) -> list[str]:
        """Return the console messages since the page was opened: errors, warnings, rejected loads."""
        wanted = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event) for event in self.events if event.get("method") in wanted]

    def loads(self) -> list[str]:
        """Return every URL requested since the page was opened."""
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    # --- the protocol ---

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result.

        :raises AssertionError: the browser returns an error.
        """
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        text = memoryview(json.dumps(message).encode() + b"\0")
        while text:
            text = text[os.write(self._write, text) :]
        answer: list[dict[str, Any]] = []

        def answered() -> bool:
            answer.extend(event for event in self.events if event.get("id") == number)
            return bool(answer)

        self._until(answered)
        self.events = [event for event in self.events if "id" not in event]
        if "error" in answer[0]:
            raise AssertionError(f"{method}: {answer[0]['error']}")
        result: dict[str, Any] = answer[0]["result"]
        return result

    def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not done():
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the browser did not answer within {TIMEOUT:g} s")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise EOFError(f"the browser ended with exit status {self._process.wait()}")
            *messages, self._buffer = (self._buffer + part).split(b"\0")
            self.events += [json.loads(message) for message in messages]


KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
