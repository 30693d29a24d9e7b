# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A headless Chromium, spoken to over the pipes of its DevTools protocol: nothing but the standard library."""

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

PATIENCE = 20.0
"""Seconds for an answer."""

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--disable-default-apps", "--mute-audio", "--hide-scrollbars"),
)


class Chromium:
    """One browser with one page. ``profile`` is an empty directory for its files."""

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
        (target,) = [each for each in self.ask("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self._session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Performance.enable", timeDomain="threadTicks")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)  # without commands to come, it ends
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    # --- what a test does ---

    def open(self, path: pathlib.Path) -> float:
        """Loads a file; returns the seconds until it was parsed, laid out and drawn."""
        self.events.clear()
        begin = time.monotonic()
        self.ask("Page.navigate", url=path.as_uri())
        self._until(lambda: any(event.get("method") == "Page.loadEventFired" for event in self.events))
        if self._scripted:
            self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - begin

    def show_as(self, width: int, theme: str = "light", height: int = 900) -> None:
        """A screen of that width, of a system with that theme."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def without_script(self, without: bool) -> None:
        """From the next page on."""
        self._scripted = not without
        self.ask("Emulation.setScriptExecutionDisabled", value=without)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript; what it throws fails the test."""
        done = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(done["exceptionDetails"])
        return done["result"].get("value")

    def key(self, name: str) -> None:
        """Presses and lets go of a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=KEYS.get(name, 0))

    def point(self, x: float, y: float, click: bool = False) -> None:
        """Moves the mouse there."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def work(self) -> float:
        """Seconds of processor time that the page has cost so far: parsing, script, style, layout, painting."""
        metrics = {metric["name"]: metric["value"] for metric in self.ask("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        answer = self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(answer["data"])

    def complaints(self) -> list[str]:
        """What the console shows since the page was opened: errors, warnings, refused loads."""
        wanted = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event) for event in self.events if event.get("method") in wanted]

    def loads(self) -> list[str]:
        """Every address that was asked for since the page was opened."""
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    # --- the protocol ---

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one command."""
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

    def _until(self, come: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not come():
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the browser did not answer for {PATIENCE:g} s")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise EOFError(f"the browser ended with {self._process.wait()}")
            *messages, self._buffer = (self._buffer + part).split(b"\0")
            self.events += [json.loads(message) for message in messages]


KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
