"""The key of a node: Ed25519, kept in one file, known to others as a libp2p peer id.

Leaves out who the person behind a key is (credentials) and what is signed (record, genesis). PEM was rejected for the
file: libp2p's own 68 bytes let the transport use the very same file, so a node has one identity and not two.
"""

import base64
import contextlib
import functools
import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn

import base58
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ensue.errors import BadKeyFile, BadSignature, MalformedRecord

KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_FILE_MODE = 0o600
KEYS_CACHED_MAX = 4096
"""Public keys kept decoded in memory: peer ids of authors seen lately."""

_KEY_FILE_PREFIX = bytes.fromhex("08011240")  # protobuf PrivateKey: type Ed25519, 64 bytes of data
_KEY_FILE_BYTES = len(_KEY_FILE_PREFIX) + 2 * KEY_BYTES
_PEER_ID_PREFIX = bytes.fromhex("002408011220")  # identity multihash of 36 bytes: PublicKey, type Ed25519, 32 bytes
_PEER_ID_CHARS_MAX = 64

# RFC 8032, section 5.1: the field's prime and the order of the base point.
_FIELD_PRIME = 2**255 - 19
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_SIGN_BIT = 1 << 255
# y of the eight points whose order divides 8; with such a key one signature may fit every message.
_SMALL_ORDER_Y = frozenset(
    (
        0,
        1,
        _FIELD_PRIME - 1,
        int.from_bytes(base64.b16decode("26E8958FC2B227B045C3F489F2EF98F0D5DFAC05D3C63339B13802886D53FC05"), "little"),
        int.from_bytes(base64.b16decode("C7176A703D4DD84FBA3C0B760D10670F2A2053FA2C39CCC64EC7FD7792AC037A"), "little"),
    )
)


class Identity:
    """Holds a private key and signs with it; never shows, pickles or logs it."""

    __slots__ = ("_key", "peer_id", "public_key")

    peer_id: str
    public_key: bytes

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise BadKeyFile(f"An Ed25519 seed has {KEY_BYTES} bytes, not {len(seed)}; restore the key file.")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.peer_id = peer_id_from_public_key(self.public_key)

    @classmethod
    def generate(cls) -> "Identity":
        """Return a new identity from the system's randomness; it is on no disk yet."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Identity":
        """Return the identity in a key file.

        Raises BadKeyFile, naming the fix, if the file is missing, damaged, or open to anyone but its owner.
        """
        return _from_file_bytes(_read_private(Path(path)), Path(path))

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> "Identity":
        """Return the identity in a key file, which is made first if there is none.

        A new file has mode 0600 from its first byte and appears complete and synced under its name; of two processes
        that create at once one wins, and both return its key. Raises BadKeyFile.
        """
        target = Path(path)
        if not os.path.lexists(target):
            _create(target, cls.generate())
        return cls.load(target)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a message; the caller puts its domain separator in front."""
        return self._key.sign(message)

    def seed(self) -> bytes:
        """Return the 32 secret bytes, for a back-up that a person keeps; nothing else may hold them."""
        return self._key.private_bytes_raw()

    def file_bytes(self) -> bytes:
        """Return the content of this identity's key file, as secret as the key."""
        return _KEY_FILE_PREFIX + self._key.private_bytes_raw() + self.public_key

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Identity is never pickled or copied: it holds a private key")


def peer_id_from_public_key(public_key: bytes) -> str:
    """Return the libp2p peer id (12D3Koo…) of a 32-byte Ed25519 public key."""
    if len(public_key) != KEY_BYTES:
        raise BadSignature(f"An Ed25519 public key has {KEY_BYTES} bytes, not {len(public_key)}; refuse it.")
    encoded: bytes = base58.b58encode(_PEER_ID_PREFIX + public_key)
    return encoded.decode("ascii")


def public_key_from_peer_id(peer_id: str) -> bytes:
    """Return the 32-byte public key inside a peer id.

    Raises MalformedRecord if the text is no Ed25519 peer id in its one canonical spelling, and BadSignature if the key
    is of small order or not in canonical form.
    """
    try:
        decoded = base58.b58decode(peer_id) if len(peer_id) <= _PEER_ID_CHARS_MAX else b""
    except ValueError:
        decoded = b""
    public_key = decoded[len(_PEER_ID_PREFIX) :]
    canonical = decoded.startswith(_PEER_ID_PREFIX) and len(public_key) == KEY_BYTES
    if not canonical or peer_id_from_public_key(public_key) != peer_id:
        raise MalformedRecord("This is no Ed25519 peer id; give one that begins with 12D3Koo, letter for letter.")
    y = _canonical_y(public_key)
    if y is None or y in _SMALL_ORDER_Y:
        raise BadSignature("This key is of small order or not canonical, so others could sign for it; refuse it.")
    return public_key


def verify(peer_id: str, signature: bytes, message: bytes) -> None:
    """Return if the holder of a peer id signed a message; raise BadSignature if not.

    Strict: the key and R are canonical and not of small order, S < L, and the equation holds without the cofactor.
    libsodium does the arithmetic, in half of OpenSSL's time. Raises MalformedRecord if `peer_id` is none.
    """
    from nacl.bindings import crypto_sign_open  # only what verifies needs it; queries do not
    from nacl.exceptions import BadSignatureError

    public_key = _public_key(peer_id)
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"A signature has {SIGNATURE_BYTES} bytes, not {len(signature)}; refuse what it signs.")
    y = _canonical_y(signature[:KEY_BYTES])
    if y is None or y in _SMALL_ORDER_Y or int.from_bytes(signature[KEY_BYTES:], "little") >= _GROUP_ORDER:
        raise BadSignature("The signature is not in its one canonical form; refuse what it signs.")
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        raise BadSignature("The signature does not fit the bytes and their author; ask another peer.") from None


@functools.lru_cache(maxsize=KEYS_CACHED_MAX)
def _public_key(peer_id: str) -> bytes:
    return public_key_from_peer_id(peer_id)


def _canonical_y(point: bytes) -> int | None:
    """Return the y coordinate of an encoded point, or None where y >= p, which has a second, shorter spelling."""
    y = int.from_bytes(point, "little") & ~_SIGN_BIT
    return y if y < _FIELD_PRIME else None


def _from_file_bytes(content: bytes, path: Path) -> Identity:
    seed = content[len(_KEY_FILE_PREFIX) : -KEY_BYTES]
    if len(content) == _KEY_FILE_BYTES and content.startswith(_KEY_FILE_PREFIX):
        identity = Identity(seed)
        if identity.public_key == content[-KEY_BYTES:]:
            return identity
    raise BadKeyFile(
        f"The key file {path} is damaged; restore it from a back-up, or move it away to begin with a new identity."
    )


def _read_private(path: Path) -> bytes:
    """Return the content of a key file, of which at most one byte too many is read, after checking its rights."""
    try:
        # Non-blocking, so that a named pipe in the file's place cannot hold the node up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BadKeyFile(f"There is no key file at {path}; run `autoresearch join` to make one.") from None
    except OSError as error:
        raise BadKeyFile(f"The key file {path} cannot be read ({error.strerror}); make it readable.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadKeyFile(f"{path} is not a plain file; move it away and restore the key file from a back-up.")
        mode = stat.S_IMODE(status.st_mode)
        if mode & ~KEY_FILE_MODE:
            raise BadKeyFile(f"The key file {path} has rights {mode:04o}; run `chmod 600 {path}`.")
        return os.read(descriptor, _KEY_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _create(target: Path, identity: Identity) -> None:
    """Write a key file under a name of its own, then link it to its place, where an existing file wins."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, KEY_FILE_MODE)  # whatever the umask took away
                file.write(identity.file_bytes())
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        raise BadKeyFile(
            f"No key file can be made at {target} ({error.strerror}); set AUTORESEARCH_HOME to a local disk."
        ) from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename or link before this call survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
