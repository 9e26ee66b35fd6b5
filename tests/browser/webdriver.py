"""A headless Chromium, driven over WebDriver's HTTP, with no library between.

Owns the processes of the driver and the browser, which end with it. Every wait is for a condition, with a deadline.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 60.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
]


def missing_browser() -> str | None:
    """Reason when there is no Chromium with its driver."""
    for command in ("chromium", "chromedriver"):
        if shutil.which(command) is None:
            return f"needs {command} (packages chromium and chromium-driver)"
    return None


class Browser:
    """One session. Methods block; they raise AssertionError with what was waited for."""

    def __init__(self, base: str, session: str) -> None:
        self._base = f"{base}/session/{session}"

    def open(self, address: str) -> None:
        """Load a page."""
        self._say("POST", "/url", {"url": address})

    def script(self, code: str, *arguments: Any) -> Any:
        """Run the body of a function in the page and return what it returns."""
        return self._say("POST", "/execute/sync", {"script": code, "args": list(arguments)})

    def wait(self, code: str, what: str, *arguments: Any) -> Any:
        """Run it again and again until it gives something true."""
        return until(lambda: self.script(code, *arguments), what)

    def find(self, selector: str) -> str:
        """The first element, as soon as it is there."""

        def look() -> str | None:
            found = self._say("POST", "/elements", {"using": "css selector", "value": selector})
            return found[0][ELEMENT] if found else None

        return str(until(look, f"the element {selector}"))

    def button(self, label: str, inside: str = "body") -> str:
        """The visible button (or link) that says this, or whose label is this."""
        code = """
            const inside = [...document.querySelectorAll(arguments[1])].at(-1);
            return [...(inside?.querySelectorAll("button, a") ?? [])].find((one) => one.offsetParent !== null &&
              (one.textContent.trim() === arguments[0] || one.getAttribute("aria-label") === arguments[0])) ?? null;
        """
        found = self.wait(code, f"the button {label!r} in {inside}", label, inside)
        return str(found[ELEMENT])

    def click(self, element: str) -> None:
        """Click with the mouse."""
        self._say("POST", f"/element/{element}/click", {})

    def type(self, element: str, keys: str) -> None:
        """Type into an element."""
        self._say("POST", f"/element/{element}/value", {"text": keys})

    def keys(self, *keys: str) -> None:
        """Press keys where the focus is."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._say("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point of the window and let go at another."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        steps: list[dict[str, Any]] = [_to(start), {"type": "pointerDown", "button": 0}, _to(middle), _to(end)]
        steps.append({"type": "pointerUp", "button": 0})
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._say("POST", "/actions", {"actions": [mouse]})

    def size(self, width: int, height: int, is_dark: bool = False) -> None:
        """The size of the page, and the colour scheme the user is said to prefer."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def devtools(self, command: str, arguments: dict[str, Any]) -> Any:
        """A command of Chromium's own protocol."""
        return self._say("POST", "/goog/cdp/execute", {"cmd": command, "params": arguments})

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._say("GET", "/screenshot", None)))

    def pdf(self) -> bytes:
        """The page, printed."""
        return base64.b64decode(self._say("POST", "/print", {}))

    def close(self) -> None:
        """End the session."""
        self._say("DELETE", "", None)

    def _say(self, method: str, path: str, body: Any) -> Any:
        return _ask(method, self._base + path, body)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile."""
    with tempfile.TemporaryDirectory(prefix="view-browser-") as profile:
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"TMPDIR": profile},
        )
        assert driver.stdout is not None
        try:
            port = 0
            for line in driver.stdout:
                if "successfully on port " in line:
                    port = int(line.rsplit("on port ", 1)[1].rstrip(".\n "))
                    break
            base = f"http://127.0.0.1:{port}"
            options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
            wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
            session = _ask("POST", f"{base}/session", wanted)
            browser = Browser(base, session["sessionId"])
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.wait(30)
            driver.stdout.close()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Poll a condition until it gives something true."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S:g} s in vain for {what}")
        time.sleep(0.05)


def _to(point: tuple[float, float]) -> dict[str, Any]:
    return {"type": "pointerMove", "duration": 50, "x": round(point[0]), "y": round(point[1])}


def _ask(method: str, address: str, body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode("utf-8", "replace")[:500]) from None
