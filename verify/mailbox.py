"""Hands a letter on: to a mail server over SMTP, or into a folder, one file each.

Left out: when and how often (postman). Errors say what went wrong without a word of the letter or of the server, whose
answers repeat addresses. Rejected: a library for sending; the standard one knows TLS, and lacks only bounds on what a
broken server may say, which are here.
"""

import contextlib
import os
import secrets
import smtplib
import socket
import ssl
import threading
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ensue.errors import BadSettings, NetworkError, StoreError
from ensue.identity import sync_folder
from verify.settings import Settings

CONNECT_TIMEOUT_S = 20
DELIVERY_TIMEOUT_S = 60
"""How long handing over one letter may take in all, however slowly a server answers."""
REPLY_BYTES_MAX = 64 * 1024
"""What a mail server may say in reply to one command."""
LETTERS_A_CONNECTION_MAX = 100
IDLE_S = 10.0
"""How long an open connection waits for another letter; servers hang up after minutes."""
_FOR_GOOD = range(500, 600)


class Delayed(NetworkError):
    """A letter that could not be handed over now."""


class Undeliverable(NetworkError):
    """A letter that the mail server will never take."""


class _Lost(Exception):
    """A connection that broke, or never came to be."""


class Outlet(Protocol):
    """Where letters go."""

    def deliver(self, message: EmailMessage) -> None:
        """Hand a letter on; raises Delayed or Undeliverable."""

    def rest(self) -> None:
        """Let go of what is held open."""


def outlet(chosen: Settings, folder: Path) -> Outlet:
    """Return where letters go by the settings: a mail server, or `folder`; raises BadSettings."""
    if not chosen.smtp_host:
        return Folder(folder)
    return Server(chosen)


class Folder:
    """Writes each letter into a file of its own, readable by the owner alone, under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def deliver(self, message: EmailMessage) -> None:
        """Write a letter; raises Delayed where the disk does not take it."""
        name = f"{time.time_ns()}-{secrets.token_hex(4)}.eml"
        scratch = self.path / f".{name}"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(bytes(message))
                    file.flush()
                    os.fsync(file.fileno())
                scratch.rename(self.path / name)
            finally:
                scratch.unlink(missing_ok=True)
            sync_folder(self.path)
        except (OSError, StoreError) as error:
            raise Delayed(f"the folder for letters takes none ({type(error).__name__})") from error

    def rest(self) -> None:
        """Nothing is held open."""


class Server:
    """A mail server that takes letters; for one thread. One connection serves several letters."""

    def __init__(self, chosen: Settings) -> None:
        self._chosen = chosen
        self._password = chosen.password()
        self._context = _context(chosen.smtp_ca_file)
        self._connection: smtplib.SMTP | None = None
        self._letters = 0
        self._used_at = 0.0

    def deliver(self, message: EmailMessage) -> None:
        """Hand a letter over; a connection that the server let go of meanwhile is opened once more."""
        if self._letters >= LETTERS_A_CONNECTION_MAX or time.monotonic() - self._used_at > IDLE_S:
            self.rest()
        if self._connection is not None:
            with contextlib.suppress(_Lost):
                return self._attempt(message)
        try:
            return self._attempt(message)
        except _Lost as error:
            raise Delayed(f"the mail server fails ({error})") from None

    def _attempt(self, message: EmailMessage) -> None:
        hasty = _Deadline(self._connection)
        try:
            with hasty:
                connection = self._connection or self._connected(hasty)
                connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code = min((code for code, _ in error.recipients.values()), default=0)
            self._refused(hasty, code, of_letter=True)
        except smtplib.SMTPResponseException as error:
            of_letter = isinstance(error, smtplib.SMTPDataError | smtplib.SMTPSenderRefused)
            self._refused(hasty, error.smtp_code, of_letter=of_letter)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            self._drop(hasty)
            raise _Lost(type(error).__name__) from None
        self._connection, self._used_at = connection, time.monotonic()
        self._letters += 1

    def _drop(self, hasty: "_Deadline") -> None:
        """Hang up, also where the connection was only on its way."""
        hasty.hang_up()
        self.rest()

    def _refused(self, hasty: "_Deadline", code: int, *, of_letter: bool) -> NoReturn:
        self._drop(hasty)
        if of_letter and code in _FOR_GOOD:
            raise Undeliverable(f"the mail server refuses a letter for good ({code})") from None
        raise Delayed(f"the mail server does not take a letter now ({code})") from None

    def _connected(self, hasty: "_Deadline") -> smtplib.SMTP:
        chosen = self._chosen
        host = chosen.sender.rpartition("@")[2]  # said in the greeting; looking up one's own name may take long
        made: smtplib.SMTP
        if chosen.smtp_security == "tls":
            made = _TlsConnection(context=self._context, timeout=CONNECT_TIMEOUT_S, local_hostname=host)
        else:
            made = _Connection(timeout=CONNECT_TIMEOUT_S, local_hostname=host)
        connection = hasty.watch(made)
        connection._host = chosen.smtp_host  # type: ignore[attr-defined]  # the name that TLS compares
        code, _ = connection.connect(chosen.smtp_host, chosen.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, b"")
        connection.ehlo_or_helo_if_needed()
        if chosen.smtp_security == "starttls":
            connection.starttls(context=self._context)
            connection.ehlo_or_helo_if_needed()
        if chosen.smtp_user:
            connection.login(chosen.smtp_user, self._password)
        return connection

    def rest(self) -> None:
        """Hang up."""
        connection, self._connection, self._letters = self._connection, None, 0
        if connection is not None:
            connection.close()


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise BadSettings(f"smtp_ca_file {ca_file} cannot be used ({error.strerror}): check it.") from None


class _Bounded(smtplib.SMTP):
    """Reads no more than so many bytes in reply to one command."""

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            assert self.sock is not None
            self.file = self.sock.makefile("rb")
        if not isinstance(self.file, _Budget):
            self.file = _Budget(self.file)
        self.file.left = REPLY_BYTES_MAX
        return super().getreply()


class _Connection(_Bounded):
    """An SMTP connection."""


class _TlsConnection(_Bounded, smtplib.SMTP_SSL):
    """An SMTP connection that begins with TLS."""


class _Budget:
    """A stream that ends after so many bytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.left = 0

    def readline(self, size: int) -> bytes:
        line: bytes = self._stream.readline(size)
        self.left -= len(line)
        if self.left < 0:
            raise OSError("a reply without end")
        return line

    def close(self) -> None:
        self._stream.close()


class _Deadline:
    """Cuts a connection off when handing over has taken too long; each single wait is bounded by the socket."""

    def __init__(self, connection: smtplib.SMTP | None) -> None:
        self._connection = connection
        self._timer = threading.Timer(DELIVERY_TIMEOUT_S, self._cut)
        self._timer.daemon = True

    def watch(self, connection: smtplib.SMTP) -> smtplib.SMTP:
        self._connection = connection
        return connection

    def _cut(self) -> None:
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
