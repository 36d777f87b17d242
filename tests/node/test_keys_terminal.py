"""On a real terminal: the 24 words after a question, a code typed at once, and a link that is noticed."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from node import account as accounts
from node import participant, phrase, verifying
from node.founding import enter
from node.home import Home, open_replica
from node.serving import Serving, bound, url_of
from verify.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._outside, inside = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "node.cli.main", *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
        )
        os.close(inside)
        self.shown, self._at = "", 0

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the terminal shows what fits a pattern, after what was waited for before; return the match."""
        end = time.monotonic() + DEADLINE_S
        while (found := re.compile(pattern).search(self.shown, self._at)) is None:
            assert time.monotonic() < end, self.shown
            if select.select([self._outside], [], [], 0.1)[0]:
                self._read()
        self._at = found.end()
        return found

    def type(self, words: str) -> None:
        """Type a line."""
        os.write(self._outside, f"{words}\n".encode())

    def end(self) -> int:
        """Return the exit code once the command has ended."""
        while self._read():
            pass
        os.close(self._outside)
        return self._process.wait(DEADLINE_S)

    def _read(self) -> str:
        try:
            part = os.read(self._outside, 65536).decode()
        except OSError:  # how Linux says that the other side is closed
            part = ""
        self.shown += part
        return part


@pytest.fixture
def alone(home: Home) -> Home:
    """A home that has founded a network with a verifier of its own."""
    member = enter(home)
    accounts.settle(home, member.store, member.identity)
    member.store.close()
    return home


def code_in(home: Home) -> str:
    (letter,) = (verifying.folder(home) / "mail").glob("*.eml")
    found = re.search(r"\b\d\d-\d{4}-\d{4}\b", letter.read_text())
    assert found is not None
    return found[0]


def test_the_words_are_shown_after_a_question_and_asked_back(alone: Home) -> None:
    terminal = Terminal("keys", "backup")
    terminal.wait_for(r"Are you alone\? \[y/N\]")
    terminal.type("n")
    assert terminal.end() == 1
    words = phrase.words_of(accounts.seed(alone))
    assert words[0] not in terminal.shown
    terminal = Terminal("keys", "backup", "--remove")
    terminal.wait_for(r"\[y/N\]")
    terminal.type("y")
    asked = terminal.wait_for(r"word (\d+):")
    listed = "\n".join(re.findall(r"^  ( ?\d+\. .*)$", terminal.shown.replace("\r", ""), re.M))
    assert phrase.seed_of(listed) == accounts.seed(alone)
    while asked[1]:
        terminal.type(words[int(asked[1]) - 1])
        asked = terminal.wait_for(r"word (\d+):|is off this machine")
    assert terminal.end() == 0
    assert "is off this machine" in terminal.shown
    assert accounts.key(alone) is None


def test_a_code_is_typed_where_it_was_asked_for(alone: Home) -> None:
    terminal = Terminal("verify", "you@example.org")
    terminal.wait_for("Enter alone leaves")
    code = code_in(alone)
    terminal.type("12-34")
    terminal.wait_for("ten digits")
    terminal.wait_for("Enter alone leaves")
    terminal.type(code)
    assert terminal.end() == 0
    assert "your results are official" in terminal.shown


def test_the_link_is_noticed_on_the_terminal(alone: Home) -> None:
    terminal = Terminal("verify", "you@example.org")
    terminal.wait_for("Enter alone leaves")
    listening = bound("127.0.0.1:0")
    with open_replica(alone) as store:
        service = verifying.opened(alone, store, Settings())
        with Serving(service, listening):
            (one,) = participant.awaited(store)
            answer = httpx.post(f"{url_of(listening)}/confirm/{one.challenge}", data={"code": code_in(alone)})
        service.close()
    assert answer.status_code == 200
    assert terminal.end() == 0
    assert "your results are official" in terminal.shown


def test_leaving_the_question_keeps_the_code_good(alone: Home) -> None:
    terminal = Terminal("verify", "you@example.org")
    terminal.wait_for("Enter alone leaves")
    terminal.type("")
    assert terminal.end() == 0
    assert "is on its way" in terminal.shown
    done = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "verify", "--code", code_in(alone)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert "your results are official" in done.stdout
