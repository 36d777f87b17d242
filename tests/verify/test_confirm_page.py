"""The page behind the link in a real browser: headless Chromium opens it, presses the button, and takes pictures.

Chromium is driven over its own debugging pipe, so nothing else has to be installed. AUTORESEARCH_SCREENSHOTS names a
folder for the pictures.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from office import Office, code_in

from ensue.identity import Identity
from node import serving

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESKTOP = (390, 844), (1280, 800)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium)")


class Browser:
    """Headless Chromium, spoken to over two pipes."""

    def __init__(self, folder: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def place() -> None:
            os.dup2(to_browser, 63)
            os.dup2(from_browser, 64)
            os.dup2(63, 3)
            os.dup2(64, 4)

        assert BROWSER is not None
        self._process = subprocess.Popen(
            [
                *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"),
                *(f"--user-data-dir={folder}", "about:blank"),
            ],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (to_browser, from_browser):
            os.close(descriptor)
        self._pending, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Network", "Runtime"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            piece = os.read(self._in, 1 << 16)
            assert piece, "the browser ended"
            self._pending += piece
        text, _, self._pending = self._pending.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found

    def wait(self, event: str) -> None:
        """Wait for an event that comes from now on."""
        while (found := self._next()).get("method") != event:
            self.events.append(found)

    def open(self, url: str, size: tuple[int, int]) -> None:
        self.resize(size)
        self.do("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def resize(self, size: tuple[int, int]) -> None:
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 500,
        )  # fmt: skip

    def run(self, expression: str) -> Any:
        return self.do("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, name: str) -> None:
        if folder := os.environ.get("AUTORESEARCH_SCREENSHOTS"):
            data = base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])
            (Path(folder) / f"{name}.png").write_bytes(data)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A verifier whose letters go into a folder."""
    made = Office(tmp_path)
    yield made
    made.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "browser")
    yield made
    made.close()


def fits(browser: Browser) -> bool:
    """Return whether nothing has to be moved sideways to be read."""
    return bool(browser.run("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.timeout(120)
def test_the_link_in_a_letter_on_a_phone_and_on_a_desk(office: Office, browser: Browser):
    listening = serving.bound("127.0.0.1:0")
    with serving.Serving(office.service, listening):
        url, account = serving.url_of(listening), Identity.generate()
        asked = office.ask("ada@lovelace.org", account)
        office.service.postman.deliver()
        letter = next(one for one in wait_for_letters(office, 1))
        link = f"{url}/confirm/{asked.challenge}?code={code_in(letter)}"
        for name, size in (("phone", PHONE), ("desktop", DESKTOP)):
            browser.open(link, size)
            browser.picture(f"before-{name}")
            assert fits(browser)
            assert account.peer_id[-8:] in browser.run("document.body.innerText")
        assert b'"waiting"' in office.get(f"/v1/challenges/{asked.challenge}").body  # opening it did nothing
        assert browser.run("document.scripts.length") == 0
        # A tap on the button, where the button is.
        box = json.loads(browser.run("JSON.stringify(document.querySelector('button').getBoundingClientRect())"))
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        assert box["height"] >= 44  # what a thumb needs
        for kind in ("mousePressed", "mouseReleased"):
            browser.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        browser.wait("Page.loadEventFired")
        assert "Confirmed" in browser.run("document.body.innerText")
        for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
            browser.resize(size)
            browser.picture(f"after-{name}")
            assert fits(browser)
        browser.open(f"{url}/confirm/{'0' * 32}?code=00-0000-0000", PHONE)
        browser.picture("gone-phone")
        assert "does not work any more" in browser.run("document.body.innerText")
        assert_quiet(browser, url)
    assert office.store.people.standing(account.peer_id, office.now_ms).official


def assert_quiet(browser: Browser, url: str) -> None:
    """Assert that the pages asked for nothing but themselves, and that the browser had nothing to refuse."""
    asked = {
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    }
    assert {one for one in asked if not one.startswith(f"{url}/confirm/")} <= {f"{url}/favicon.ico"}
    said = [event["params"]["entry"]["text"] for event in browser.events if event.get("method") == "Log.entryAdded"]
    assert [text for text in said if "Content Security Policy" in text] == []


def wait_for_letters(office: Office, count: int):
    import threading

    pause = threading.Event()
    for _ in range(500):
        if len(found := office.letters()) >= count:
            return found
        pause.wait(0.02)
    raise AssertionError("no letter")
