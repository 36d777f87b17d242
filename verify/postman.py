"""Sends the letters that wait in the ledger, one by one, until their codes are stale, and forgets what is over.

A letter outlasts a kill; its code does not stand in the ledger, so after a restart the letter gets a new one. Left out:
where letters go (mailbox). Rejected: codes kept until the letter is sent, which whoever copies the file could use.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable

from ensue.errors import StoreError
from verify.ledger import Ledger, Waiting
from verify.letter import Writer
from verify.mailbox import Delayed, Outlet, Undeliverable
from verify.pepper import Pepper
from verify.request import SECRET_DIGITS

LEASE_S = 90
"""How long a process may take over one letter before another one may send it."""
BACK_OFF_S = (5, 10, 20, 40, 60)
"""How long to wait after each failure; the last one for all that follow."""
TIDY_S = 5.0
"""How often what is over is forgotten, address by address."""
STOP_S = 3.0
CODES_MAX = 20_000
"""Codes in memory whose letters wait; for those beyond, new ones are drawn."""

_log = logging.getLogger("autoresearch.verifier")


class Postman:
    """Delivers letters, in a thread of its own once it is started, or when asked."""

    def __init__(
        self, ledger: Ledger, outlet: Outlet, writer: Writer, pepper: Pepper, clock_ms: Callable[[], int]
    ) -> None:
        self._ledger, self._outlet, self._writer, self._pepper = ledger, outlet, writer, pepper
        self._clock_ms = clock_ms
        self._codes: dict[str, str] = {}
        self._news, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.told: str | None = None
        """Why the newest letter could not be handed over; None while all goes well."""

    def start(self) -> None:
        """Begin to deliver in the background, what waited before first."""
        self._ledger.letters_due(self._clock_ms())
        self._thread = threading.Thread(target=self._work, name="letters", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the letter at hand, unless its mail server takes too long; then that letter goes out once more."""
        self._ended.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
        if self._thread is None or not self._thread.is_alive():
            self._outlet.rest()

    @property
    def started(self) -> bool:
        """Whether letters are delivered in the background."""
        return self._thread is not None

    def draw(self, challenge: str, tag: str) -> tuple[str, bytes]:
        """Return a new code for a challenge, and what the ledger keeps of it."""
        code = tag + "".join(secrets.choice("0123456789") for _ in range(SECRET_DIGITS))
        return code, self._pepper.code(challenge, code)

    def remember(self, challenge: str, code: str) -> None:
        """Hold a code until its letter is sent, and see to the letter soon."""
        if len(self._codes) < CODES_MAX:
            self._codes[challenge] = code
        self._news.set()

    def deliver(self) -> int:
        """Deliver what is due; return how many letters went out."""
        sent = 0
        while not self._ended.is_set() and (waiting := self._ledger.take_letter(self._clock_ms(), LEASE_S * 1000)):
            sent += self._one(waiting)
        return sent

    def _one(self, waiting: Waiting) -> bool:
        now_ms = self._clock_ms()
        challenge = self._ledger.challenge(waiting.challenge)
        code = self._codes.pop(waiting.challenge, None)
        stale = challenge is None or challenge.state != "waiting" or challenge.expires_ms <= now_ms
        if challenge is None or stale or waiting.silent:
            if not waiting.silent and waiting.attempts:
                _log.warning("a letter was given up: its code is stale")
            self._ledger.letter_done(waiting.no)
            return False
        if code is None:
            code, digest = self.draw(challenge.id, challenge.tag)
            with self._ledger.write():
                self._ledger.recode(challenge.id, digest)
        try:
            self._outlet.deliver(self._writer.letter(waiting.email, challenge.account, challenge.id, code))
        except Delayed as error:
            self._codes[challenge.id] = code
            self.told = str(error)
            wait_s = BACK_OFF_S[min(waiting.attempts, len(BACK_OFF_S) - 1)]
            self._ledger.letter_failed(waiting.no, now_ms + wait_s * 1000)
            _log.warning("mail is delayed: %s; next attempt in %d s", error, wait_s)
            return False
        except Undeliverable as error:
            self._ledger.letter_done(waiting.no)
            _log.warning("a letter was given up: %s", error)
            return False
        self._ledger.letter_done(waiting.no)
        if self.told is not None:
            _log.info("mail goes out again")
        self.told = None
        return True

    def tidy(self) -> None:
        """Forget codes and addresses that are of no use any more."""
        self._ledger.tidy(self._clock_ms())
        for challenge in list(self._codes):
            found = self._ledger.challenge(challenge)
            if found is None or found.state != "waiting":
                self._codes.pop(challenge, None)

    def _work(self) -> None:
        tidied = time.monotonic()
        while not self._ended.is_set():
            self._news.clear()
            try:
                self.deliver()
                if time.monotonic() - tidied >= TIDY_S:
                    tidied = time.monotonic()
                    self.tidy()
                    self._outlet.rest() if self._ledger.next_due_ms() is None else None
            except StoreError as error:
                _log.error("the ledger fails: %s", error)
                self._ended.wait(TIDY_S)
            except Exception:  # noqa: BLE001 - logged with its traceback; letters must go on
                _log.exception("the thread that delivers letters failed and goes on")
                self._ended.wait(TIDY_S)
            self._news.wait(self._pause_s())

    def _pause_s(self) -> float:
        try:
            due_ms = self._ledger.next_due_ms()
        except StoreError:
            return TIDY_S
        return TIDY_S if due_ms is None else min(TIDY_S, max(0.0, (due_ms - self._clock_ms()) / 1000))
