"""A headless Chromium, spoken to through pipes by its own protocol: what a page asks for, says and shows."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 600  # for a browser that hangs: on a busy machine one that works may take minutes
# The browser reads commands from descriptor 3 and writes to descriptor 4; only a shell gives a child just these.
START = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


class Browser:
    """One page in one browser.

    Attributes:
        requests: The URLs that the page asked for, in order.
        complaints: What stands in its console: errors, violated policies, exceptions, and calls of ``console``.
    """

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        profile = (f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe")
        self._process = subprocess.Popen(
            ["bash", "-c", START, "bash", str(commands), str(answers), CHROMIUM, *OPTIONS, *QUIET, *profile],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        os.set_blocking(self._in, False)
        self._buffer, self._number = b"", 0
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Log", "Runtime", "Page"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, path: Path, *, dark: bool = False) -> None:
        """Load a file and wait until everything in it is there."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", features=scheme)
        self._loaded = False
        self._ask("Page.navigate", url=path.resolve().as_uri())
        self._until(lambda: self._loaded)
        self.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => null))).then(() => 0)")

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - any JSON value
        """Give the value of a JavaScript expression in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> str:
        """Give a picture of the whole page, as PNG in base 64."""
        return str(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answers: list[dict[str, Any]] = []
        number = self._number
        self._until(lambda: bool(answers), lambda heard: answers.append(heard) if heard.get("id") == number else None)
        assert "error" not in answers[0], answers[0]
        return dict(answers[0]["result"])

    def _until(self, done: Any, see: Any = lambda heard: None) -> None:  # noqa: ANN401 - functions
        end = time.monotonic() + SECONDS
        while not done():
            assert self._process.poll() is None, f"{CHROMIUM} ended with {self._process.returncode}"
            assert time.monotonic() < end, f"{CHROMIUM} did not answer in {SECONDS} s"
            try:
                self._buffer += os.read(self._in, 1 << 20)
            except BlockingIOError:
                time.sleep(0.01)
            *whole, self._buffer = self._buffer.split(b"\0")
            for one in whole:
                heard = json.loads(one)
                self._hear(heard.get("method", ""), heard.get("params", {}))
                see(heard)

    def _hear(self, method: str, said: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(str(said["entry"]))
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(str(said))
