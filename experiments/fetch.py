"""Fetching one large file over HTTPS, so that whatever goes wrong on the way either is mended or is said in a sentence.

Streams into a file beside its destination, goes on where a connection broke, bounds size, time and tries, checks the
hash, and renames only what is whole. Leaves out which files are wanted (`data`). Rejected: a client of one hosting
service, because a shard may come from any mirror: its hash is what counts.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from ensue.errors import DiskFull, DownloadFailed

Progress = Callable[[int, int | None], None]  # bytes here, bytes in all where known

NOTE_BYTES_MAX = 4096
PROGRESS_INTERVAL_S = 0.1
TRY_AGAIN_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds of one download."""

    bytes_max: int = 2 << 30
    attempts_max: int = 6  # tries in a row that bring less than `progress_bytes_min`
    wrong_hashes_max: int = 2
    progress_bytes_min: int = 1 << 20
    wait_s: float = 1.0  # before the second try; doubled before each further one
    wait_s_max: float = 30.0
    connect_s_max: float = 15.0
    silence_s_max: float = 30.0  # without a byte
    window_s: float = 60.0  # in which at least `window_bytes_min` must come
    window_bytes_min: int = 64 << 10
    redirects_max: int = 5
    room_bytes_min: int = 256 << 20  # left free on the disk


@dataclass(frozen=True, slots=True)
class Fetched:
    """What lies at the destination."""

    sha256: str
    size_bytes: int


class _Again(Exception):
    """This try failed in a way that another may not."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size_bytes: int | None = None,
    limits: FetchLimits | None = None,
    on_progress: Progress | None = None,
    trust: ssl.SSLContext | None = None,
) -> Fetched:
    """Return the hash and size of `url`'s content, which then lies whole at `path`.

    A file that is there already is kept if it has the hash. What a broken download left is kept beside it for the next
    call. `trust` replaces the system's certificates. Raises DownloadFailed, DiskFull.
    """
    limits = limits or FetchLimits()
    if path.is_file():
        found = measure(path)
        if sha256 in (None, found.sha256):
            return found
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(url, _Partial(path), sha256, size_bytes, limits, on_progress or (lambda _here, _all: None))
    with _client(limits, trust) as client, _disk_errors(path):
        failures = wrong_hashes = 0
        while True:
            before = transfer.partial.size()
            wait_s = 0.0
            try:
                transfer.go_on(client)
                return transfer.finish(path)
            except _Again as error:
                reason, wait_s = str(error), error.wait_s
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise DownloadFailed(f"{url} cannot be fetched ({error}); correct its address.") from error
            if transfer.wrong_hash:
                wrong_hashes += 1
                transfer.wrong_hash = False
            failures += transfer.partial.size() - before < limits.progress_bytes_min
            if failures >= limits.attempts_max or wrong_hashes >= limits.wrong_hashes_max:
                raise DownloadFailed(
                    f"{url} cannot be fetched ({reason}); run the command again later: it goes on from here."
                )
            time.sleep(min(limits.wait_s_max, max(wait_s, limits.wait_s * 2.0 ** max(0, failures - 1))))


def measure(path: Path) -> Fetched:
    """Return the hash and size of a file."""
    with path.open("rb") as file:
        return Fetched(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)


class _Partial:
    """What has arrived so far, and a note on which version of the file it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> str | None:
        """Return the validator for If-Range (RFC 9110, 13.1.5), None without one that is strong."""
        try:
            version = json.loads(self._note.read_bytes()[:NOTE_BYTES_MAX])["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) else None

    def begin(self, version: str | None) -> None:
        self.path.unlink(missing_ok=True)
        self._note.write_text(json.dumps({"version": version}), encoding="ascii")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def become(self, path: Path) -> None:
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(path)
        self._note.unlink(missing_ok=True)


@dataclass(slots=True)
class _Transfer:
    """One file on its way, over as many connections as it takes."""

    url: str
    partial: _Partial
    sha256: str | None
    size_bytes: int | None
    limits: FetchLimits
    on_progress: Progress
    wrong_hash: bool = False

    def go_on(self, client: httpx.Client) -> None:
        """Receive what is missing. Raises _Again or httpx.TransportError where another try may help."""
        here = self.partial.size()
        if here and here == self.size_bytes:
            return  # killed between the last byte and the rename
        headers = {}
        version = self.partial.version()
        if here and (version or self.sha256):  # with a hash to check at the end, going on unconditionally is safe
            headers = {"Range": f"bytes={here}-"} | ({"If-Range": version} if version else {})
        with client.stream("GET", self.url, headers=headers) as response:
            start, total = self._accept(response, here if headers else 0)
            if start == 0:
                self.partial.begin(_version(response))
            self._check_bounds(start, total)
            with self.partial.path.open("ab") as file:
                self._receive(response, file.write, start, total)

    def finish(self, path: Path) -> Fetched:
        """Put the file in its place if it is the right one; else throw it away and raise _Again."""
        fetched = measure(self.partial.path)
        if self.size_bytes in (None, fetched.size_bytes) and self.sha256 in (None, fetched.sha256):
            self.partial.become(path)
            return fetched
        self.partial.discard()
        self.wrong_hash = True
        raise _Again("what came does not have the hash it must have")

    def _accept(self, response: httpx.Response, asked_from: int) -> tuple[int, int | None]:
        """Return where the content of this response begins in the file, and the file's size where known."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadFailed(f"{self.url} comes in an encoding nobody asked for; use another mirror.")
        if response.status_code == httpx.codes.OK:
            length = response.headers.get("Content-Length", "")
            return 0, int(length) if length.isdecimal() else None
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match and asked_from and int(match[1]) == asked_from:
                return asked_from, int(match[2]) if match[2] != "*" else None
        if response.status_code in (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            self.partial.discard()
            raise _Again("the server gave another part than was asked for")
        if response.status_code in TRY_AGAIN_STATUSES:
            after = response.headers.get("Retry-After", "")
            raise _Again(f"the server answers {response.status_code}", float(after) if after.isdecimal() else 0.0)
        raise DownloadFailed(
            f"{self.url} cannot be fetched (the server answers {response.status_code}); check the address."
        )

    def _check_bounds(self, start: int, total: int | None) -> None:
        wanted = self.size_bytes if total is None else total
        if total is not None and self.size_bytes not in (None, total):
            self.partial.discard()
            raise DownloadFailed(
                f"{self.url} has {total} bytes where {self.size_bytes} are expected; use another mirror."
            )
        if wanted is not None and wanted > self.limits.bytes_max:
            self._too_large()
        free = shutil.disk_usage(self.partial.path.parent).free
        needed = (wanted or 0) - start + self.limits.room_bytes_min
        if free < needed:
            raise DiskFull(f"{self.url} needs {needed} free bytes and {free} are left; free some room and start again.")

    def _receive(
        self, response: httpx.Response, write: Callable[[bytes], object], here: int, total: int | None
    ) -> None:
        bound = self.size_bytes if self.size_bytes is not None else self.limits.bytes_max
        window_end, window_here = time.monotonic() + self.limits.window_s, here
        told = 0.0
        for chunk in response.iter_raw():
            here += len(chunk)
            if here > bound:
                self._too_large()
            write(chunk)
            now = time.monotonic()
            if now - told >= PROGRESS_INTERVAL_S:
                told = now
                self.on_progress(here, total)
            if now >= window_end:
                if here - window_here < self.limits.window_bytes_min:
                    raise _Again(f"fewer than {self.limits.window_bytes_min} bytes came in {self.limits.window_s:g} s")
                window_end, window_here = now + self.limits.window_s, here
        if total is not None and here < total:
            raise _Again("the connection ended early")
        self.on_progress(here, here)

    def _too_large(self) -> None:
        self.partial.discard()
        bound = self.size_bytes if self.size_bytes is not None else self.limits.bytes_max
        raise DownloadFailed(f"{self.url} is larger than the {bound} bytes it may have; use another mirror.")


def _version(response: httpx.Response) -> str | None:
    tag: str = response.headers.get("ETag", "")
    return tag if tag.startswith('"') and tag.isascii() else None


def _only_https(request: httpx.Request) -> None:
    if request.url.scheme != "https":
        raise DownloadFailed(f"{request.url} is not reached over HTTPS; use another mirror.")


def _client(limits: FetchLimits, trust: ssl.SSLContext | None) -> httpx.Client:
    return httpx.Client(
        headers={"Accept-Encoding": "identity"},
        timeout=httpx.Timeout(limits.silence_s_max, connect=limits.connect_s_max),
        follow_redirects=True,
        max_redirects=limits.redirects_max,
        event_hooks={"request": [_only_https]},
        verify=trust if trust is not None else True,
    )


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"There is no room for {path}; free some and start again: it goes on from here.") from error
        raise
