"""Headless Chromium as tests use it: one page, through the DevTools protocol over a pipe.

Without a driver or a WebSocket: the browser reads commands from descriptor 3 and writes to
descriptor 4, JSON between zero bytes. Source: https://chromedevtools.github.io/devtools-protocol/
and the browser's own `--remote-debugging-pipe`.
"""

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS: Final = 40.0
_END: Final = b"\0"

_KEYS: Final = {
    "ArrowDown": 40,
    "ArrowUp": 38,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "Enter": 13,
    "Escape": 27,
    "Home": 36,
    "End": 35,
    "Tab": 9,
}


class Page:
    """A page of a browser that runs as long as the block that made it."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands = commands
        self._replies = replies
        self._last_id = 0
        self._session = ""
        self._arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.problems: list[str] = []
        """What the page complained of: exceptions, console errors, violations of its policy."""
        threading.Thread(target=self._read, daemon=True).start()
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to an address, as if typed."""
        self._call("Page.navigate", {"url": url})

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window, and whether the person prefers dark."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [feature]})

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is waited for."""
        answer = self._call(
            "Runtime.evaluate",
            {
                "expression": script,
                "returnByValue": True,
                "awaitPromise": True,
                "userGesture": True,
            },
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Wait until an expression is true in the page, and return its value."""
        deadline = time.monotonic() + _SECONDS
        while True:
            value = self.evaluate(f"Promise.resolve({script})")
            if value or value == {}:  # an element has no value of its own
                return value
            if time.monotonic() > deadline:
                shown = self.evaluate("document.body.innerText")
                raise AssertionError(f"waited in vain for {script}; {self.problems}; {shown}")
            self.evaluate("new Promise(requestAnimationFrame)")

    def press(self, *keys: str) -> None:
        """Press keys, one after another, wherever the focus is."""
        for key in keys:
            event: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key, 0)}
            if key == "Enter":
                event["text"] = "\r"
            elif key not in _KEYS:
                event["text"] = key
            self._call("Input.dispatchKeyEvent", {"type": "keyDown", **event})
            self._call("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def click(self, selector: str) -> None:
        """Click into the middle of an element, once it stays where it is."""
        box = self.wait_for(
            f"(async () => {{const find = () => document.querySelector({json.dumps(selector)})"
            "?.getBoundingClientRect();"
            "const before = find();"
            "await new Promise((next) => setTimeout(next, 100));"
            "const box = find();"
            "return document.readyState === 'complete' && before && box"
            " && before.x === box.x && before.y === box.y"
            " && [box.x + box.width / 2, box.y + box.height / 2]})()"
        )
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", {"type": kind, **at})

    def type(self, text: str) -> None:
        """Type text wherever the focus is."""
        self._call("Input.insertText", {"text": text})

    def screenshot(self, path: Path) -> None:
        """Write what is to be seen, as a PNG."""
        shot = self._call("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._last_id += 1
        command: dict[str, Any] = {"id": self._last_id, "method": method}
        command["params"] = dict(parameters or {})
        if self._session:
            command["sessionId"] = self._session
        left = json.dumps(command).encode() + _END
        while left:
            left = left[os.write(self._commands, left) :]
        while True:
            reply = self._arrived.get(timeout=_SECONDS)
            assert reply is not None, "the browser went away"
            if reply.get("id") == self._last_id:
                assert "error" not in reply, f"{method}: {reply['error']}"
                result: dict[str, Any] = reply["result"]
                return result

    def _read(self) -> None:
        held = b""
        while piece := os.read(self._replies, 1 << 16):
            held += piece
            *messages, held = held.split(_END)
            for message in messages:
                parsed: dict[str, Any] = json.loads(message)
                if "id" in parsed:
                    self._arrived.put(parsed)
                else:
                    self._note(parsed)
        self._arrived.put(None)

    def _note(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(details["exceptionDetails"]))
            case "Log.entryAdded" if details["entry"]["level"] == "error":
                self.problems.append(details["entry"]["text"])
            case "Runtime.consoleAPICalled" if details["type"] == "error":
                self.problems.append(json.dumps(details["args"]))
            case _:
                pass


def find_chromium() -> str:
    """Return the browser's path; skips the test where there is none."""
    for name in _NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip("there is no Chromium, and only the system's administrator can install one")


@contextmanager
def chromium_page(profile: Path, *arguments: str) -> Generator[Page]:
    """Run a browser with one page until the block is left.

    Args:
        profile: A folder for its profile.
        arguments: More words for the browser.
    """
    path = find_chromium()
    with _pipes() as (to_browser, from_browser, adopt):
        browser = subprocess.Popen(
            [
                path,
                "--headless",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--hide-scrollbars",
                # The sandbox needs what root and most containers do not have; pages are our own.
                "--no-sandbox",
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=adopt,  # noqa: PLW1509 - the descriptors' numbers are the browser's choice
        )
        try:
            yield Page(to_browser, from_browser)
        finally:
            browser.terminate()
            try:
                browser.wait(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()


@contextmanager
def _pipes() -> Generator[tuple[int, int, Callable[[], None]]]:
    """Make the two pipes; the function puts their far ends where the browser looks for them."""
    commands_out, commands_in = os.pipe()
    replies_out, replies_in = os.pipe()
    for end in (commands_in, replies_out):
        os.set_inheritable(end, False)

    def adopt() -> None:
        # Either may be where the other has to go.
        commands, replies = os.dup(commands_out), os.dup(replies_in)
        os.dup2(commands, 3)
        os.dup2(replies, 4)

    ends = (commands_out, commands_in, replies_out, replies_in)
    try:
        yield commands_in, replies_out, adopt
    finally:
        for end in ends:
            os.close(end)
