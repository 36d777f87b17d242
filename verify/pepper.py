"""The verifier's secret beside its key, and what is made with it: digests of addresses, of domains and of codes.

A digest without a key can be guessed from a list of addresses; this one cannot, as long as the file stays secret. It
belongs into the back-up: without it nobody is known again, and everybody could have a second account. Rejected: the
verifier's key for this too, which would tie the digests to a key that may be replaced.
"""

import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ensue.errors import BadKeyFile
from ensue.identity import sync_folder

PEPPER_BYTES = 32
_ADDRESS, _DOMAIN, _CODE = (f"autoresearch-{what}-v1\0".encode() for what in ("address", "domain", "code"))


class Pepper:
    """Makes keyed digests; never shows, pickles or logs its secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == PEPPER_BYTES
        self._secret = secret

    @classmethod
    def load_or_create(cls, path: Path) -> "Pepper":
        """Return the secret in a file of mode 0600, which is made first if there is none; raises BadKeyFile."""
        try:
            if not os.path.lexists(path):
                _create(path)
            return cls(_read(path))
        except OSError as error:
            raise BadKeyFile(f"The file {path} cannot be used ({error.strerror}): check its rights.") from None

    def address(self, canonical: str) -> bytes:
        """Return the digest by which an address is known, 32 bytes."""
        return self._digest(_ADDRESS, canonical)

    def domain(self, domain: str) -> bytes:
        """Return the digest by which a domain's accounts are counted, 32 bytes."""
        return self._digest(_DOMAIN, domain)

    def code(self, challenge: str, code: str) -> bytes:
        """Return what is kept of a code, 32 bytes."""
        return self._digest(_CODE, f"{challenge} {code}")

    def _digest(self, purpose: bytes, text: str) -> bytes:
        return hmac.digest(self._secret, purpose + text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def __repr__(self) -> str:
        return "Pepper(…)"


def _create(path: Path) -> None:
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(PEPPER_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        secret = os.read(descriptor, PEPPER_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise BadKeyFile(f"The secret {path} can be read by others: run `chmod 600 {path}`.")
    if len(secret) != PEPPER_BYTES:
        raise BadKeyFile(
            f"The secret {path} is damaged: restore it from a back-up, as a new one forgets every address."
        )
    return secret
