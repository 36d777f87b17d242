"""An invite: one line with all it takes to join a network, that is its genesis, and addresses of members.

The line is `autoresearch1:` and lower-case base32 (RFC 4648, no padding), every 30 characters of it followed by one
that checks them (a CRC of 5 bits), so that a typing error is found and its place named. Under the base32 lie a body and
its CRC-32. The body: a count and so many keys of 32 bytes; the 64 bytes of the founder's signature; the rest deflated.
The rest is the genesis' payload, then each address after a zero byte. In it hash and peer ids stand as 0x01 or 0x02 and
the number of a key: they cannot be compressed, and are half the size this way.

Left out: who may join. An invite gives no right that its reader's own key does not get from the network. Rejected:
base64, a fifth shorter as text, but a third larger as a QR code, and its letters' cases get lost when typed or said;
BCH codes, which mend what they find but end at a thousand characters.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ensue.errors import RecordError, RecordTooLarge, UserError
from ensue.genesis import GENESIS_BYTES_MAX, Genesis
from ensue.identity import KEY_BYTES, SIGNATURE_BYTES, peer_id_from_public_key, public_key_from_peer_id
from node.swarm.address import ADDRESS_CHARS_MAX, parse, parsed

if TYPE_CHECKING:
    from node.founding import Membership
    from node.home import Home

VERSION = 1
PREFIX = f"autoresearch{VERSION}:"
ADDRESSES_MAX = 8
"""Addresses in one invite."""
INVITE_CHARS_MAX = 200_000
"""Text that is looked at: the largest genesis takes 110,000 characters, line breaks and quotes come on top."""
PLAIN_BYTES_MAX = GENESIS_BYTES_MAX + ADDRESSES_MAX * (ADDRESS_CHARS_MAX + 1)
"""What an invite may unpack to."""
KEYS_MAX = 255
"""Keys and hashes that stand apart from the text; the rest of them stay in it."""
GROUP_CHARS: Final = 30
QUIET_MODULES: Final = 2

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_CRC_BYTES: Final = 4
_DROPPED = re.compile(r"[\s\"'`´“”„‘’‚«»‹›<>|=\\\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
_BEGINNING = re.compile(r"autoresearch([0-9]{1,6}):", re.IGNORECASE)
_KEY = re.compile(rb"[0-9a-f]{64}|12D3KooW[1-9A-HJ-NP-Za-km-z]{44}")
_PLACE = re.compile(rb"[\x01\x02](?s:.)")
_GROWS: Final = {1: 62, 2: 50}  # bytes by which a hash and a peer id are longer than their places
_USUAL: Final = (  # what deflate may refer to from the first byte on; part of version 1
    b"/dns6/dns4/dns/ip6/fd00::/p2p-circuit/p2p/\x02\x01/udp/\0/ip4/172.1\0/ip4/10.0.0.1\0/ip4/192.168.1."
    b"/udp/4001/quic-v1/p2p/\x02\0\0/ip4/192.168.1.1/tcp/4001/p2p/\x02\0"
    b'{"v":1,"name":"autoresearch","created_ms":17,"founder":"\x02\0","tracks":[{"name":"climbmix","id":"\x01\x01"}'
    b',{"name":"sotu","id":"\x01\x02"}],"verifiers":["\x02\x03","\x02\x04"],"policy":{}}\0/ip4/'
)


class BadInvite(UserError):
    """A text that cannot be used as an invite."""


class NotAnInvite(BadInvite):
    """A text without an invite in it."""


class MistypedInvite(BadInvite):
    """An invite in which characters are wrong, missing or too many."""


class NewerInvite(BadInvite):
    """An invite of a later version of this program."""


class ForgedInvite(BadInvite):
    """An invite, typed correctly, whose genesis is none or is not its founder's."""


@dataclass(frozen=True, slots=True)
class Invite:
    """A verified genesis, and the addresses of members, the likeliest first."""

    genesis: Genesis
    addresses: tuple[str, ...] = ()


def encode(genesis: Genesis, addresses: Sequence[str] = ()) -> str:
    """Returns the line that invites to a network, with the first ADDRESSES_MAX addresses; raises BadAddress."""
    chosen = list(dict.fromkeys(parse(address).text for address in addresses))[:ADDRESSES_MAX]
    payload = genesis.raw[SIGNATURE_BYTES:]
    plain, keys = _folded(b"\0".join([payload, *(address.encode("ascii") for address in chosen)]))
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_USUAL)
    packed = deflater.compress(plain) + deflater.flush()
    body = bytes([len(keys)]) + b"".join(keys) + genesis.raw[:SIGNATURE_BYTES] + packed
    letters = base64.b32encode(body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")).decode("ascii").rstrip("=").lower()
    groups = [letters[at : at + GROUP_CHARS] for at in range(0, len(letters), GROUP_CHARS)]
    return PREFIX + "".join(group + _check(group, number) for number, group in enumerate(groups))


def decode(text: str) -> Invite:
    """Returns what an invite says, after every check; white space, line breaks and quotes in it do not count.

    Addresses of kinds unknown here are left out. Raises NotAnInvite, NewerInvite, MistypedInvite or ForgedInvite.
    Time and memory are bounded by INVITE_CHARS_MAX and PLAIN_BYTES_MAX.
    """
    body = _body(_letters(text))
    count = body[0] if body else 0
    end = 1 + count * KEY_BYTES
    keys = [body[at : at + KEY_BYTES] for at in range(1, end, KEY_BYTES)]
    signature, packed = body[end : end + SIGNATURE_BYTES], body[end + SIGNATURE_BYTES :]
    payload, *rest = _unfolded(_inflated(packed), keys).split(b"\0")
    try:
        genesis = Genesis.decode(signature + payload)
    except RecordTooLarge:
        raise ForgedInvite("The network of this invite has a genesis that is too large: ask for another one.") from None
    except RecordError:
        raise ForgedInvite(
            "This invite is complete, but its network is not signed by its founder: do not use it, and ask whoever "
            "sent it."
        ) from None
    found = [parsed(address.decode("ascii", "replace")) for address in rest[:ADDRESSES_MAX]]
    return Invite(genesis, tuple(dict.fromkeys(address.text for address in found if address is not None)))


def founded_by(home: Home, invite: Invite | None) -> Membership:
    """Returns the membership of a home, which becomes one of the invite's network if it has none; None founds one.

    The invite's addresses go into the book of peers. Raises UserError for a home of another network, and all that
    `node.founding.enter` raises.
    """
    from node.founding import enter
    from node.swarm.peerbook import PeerBook

    member = enter(home, None if invite is None else invite.genesis)
    if invite is not None and invite.addresses:
        try:
            book = PeerBook.load(member.store, member.identity.peer_id)
            book.add(invite.addresses, "invite")
            book.save(member.store)
        except BaseException:
            member.store.close()
            raise
    return member


def qr(line: str, columns: int, rows: int) -> str | None:
    """Returns a QR code of a line in half blocks, dark on light; None where the terminal has too little room for it."""
    import segno

    try:
        code = segno.make(line.upper(), error="l", boost_error=False, micro=False)  # capitals take 5.5 bits each
    except segno.DataOverflowError:
        return None
    modules = [[bool(module) for module in row] for row in code.matrix_iter(border=QUIET_MODULES)]
    if len(modules[0]) > columns or (len(modules) + 1) // 2 > rows:
        return None
    below = [*modules[1:], [False] * len(modules[0])]
    drawn = [
        "".join(" ▄▀█"[2 * top + bottom] for top, bottom in zip(modules[at], below[at], strict=True))
        for at in range(0, len(modules), 2)
    ]
    return "\n".join(f"\x1b[30;47m{row}\x1b[0m" for row in drawn)


def _check(group: str, number: int) -> str:
    """Returns the character that checks a group: any one wrong letter and any two exchanged ones change it."""
    rest = number % len(_ALPHABET)
    for letter in group:
        rest = rest << 1 ^ (0b100101 if rest & 0b10000 else 0) ^ _VALUES[letter]
    return _ALPHABET[rest]


def _letters(text: str) -> str:
    """Returns the base32 of an invite in a text, with its checks still in it."""
    if len(text) > INVITE_CHARS_MAX:
        raise NotAnInvite("This text is too long for an invite: copy the line of `autoresearch invite`, and no more.")
    cleaned = _DROPPED.sub("", text)
    found = _BEGINNING.search(cleaned)
    if found is None or int(found[1]) == 0:
        raise NotAnInvite(
            f"This is no invite, as it lacks the beginning {PREFIX}… of one: copy the line of `autoresearch invite`."
        )
    if int(found[1]) > VERSION:
        raise NewerInvite(
            f"This invite is of version {int(found[1])} and this program reads version {VERSION}: update autoresearch."
        )
    letters = cleaned[found.end() :].rstrip(".,;:!?)]}").lower()
    wrong = next((at for at, letter in enumerate(letters) if letter not in _VALUES), None)
    if wrong is not None:
        raise MistypedInvite(
            f"The invite has a typing error: its character {wrong + 1} after the colon is {letters[wrong]!r}, and only "
            "the letters a to z and the digits 2 to 7 are ever in one."
        )
    return letters


def _body(letters: str) -> bytes:
    """Returns the bytes under base32 whose checks hold; raises MistypedInvite that says where they do not."""
    step = GROUP_CHARS + 1
    groups = [letters[at : at + step] for at in range(0, len(letters), step)]
    for number, group in enumerate(groups):
        if len(group) < 2 or _check(group[:-1], number) != group[-1]:
            first, last = number * step + 1, number * step + len(group)
            end = ", or its end is missing" if number == len(groups) - 1 else ""
            raise MistypedInvite(
                f"The invite has a typing error between its characters {first} and {last} after the colon, which read "
                f"{group}{end}: compare them, or copy the whole line again."
            )
    data = "".join(group[:-1] for group in groups).upper()
    try:
        body = base64.b32decode(data + "=" * (-len(data) % 8))
    except ValueError:
        body = b""
    whole = base64.b32encode(body).decode("ascii").rstrip("=") == data  # no bits beyond the last byte
    body, crc = body[:-_CRC_BYTES], body[-_CRC_BYTES:]
    if not whole or not body or zlib.crc32(body).to_bytes(_CRC_BYTES, "big") != crc:
        raise MistypedInvite("The invite has a typing error, or a part is missing: copy the whole line again.")
    return body


def _folded(plain: bytes) -> tuple[bytes, list[bytes]]:
    """Returns a text with keys and hashes replaced by their places in a list, and the list."""
    keys: dict[bytes, int] = {}

    def place(match: re.Match[bytes]) -> bytes:
        word = match[0].decode("ascii")
        try:
            mark, key = (b"\x01", bytes.fromhex(word)) if len(word) == 64 else (b"\x02", public_key_from_peer_id(word))
        except RecordError:
            return match[0]
        if key not in keys and len(keys) == KEYS_MAX:
            return match[0]
        return mark + bytes([keys.setdefault(key, len(keys))])

    return _KEY.sub(place, plain), list(keys)


def _unfolded(plain: bytes, keys: list[bytes]) -> bytes:
    """Returns a text with keys and hashes back in their places; raises ForgedInvite for one that is not there."""

    def word(match: re.Match[bytes]) -> bytes:
        mark, number = match[0]
        if number >= len(keys) or len(keys[number]) != KEY_BYTES:
            raise ForgedInvite("This invite refers to keys that it does not hold: ask for another one.")
        key = keys[number]
        return key.hex().encode("ascii") if mark == 1 else peer_id_from_public_key(key).encode("ascii")

    grows = sum(_GROWS[place[0]] for place in _PLACE.findall(plain))
    if len(plain) + grows > PLAIN_BYTES_MAX:
        raise ForgedInvite("This invite unpacks to more than an invite may hold: ask for another one.")
    return _PLACE.sub(word, plain)


def _inflated(packed: bytes) -> bytes:
    """Returns deflated bytes unpacked, at most PLAIN_BYTES_MAX of them; raises ForgedInvite."""
    inflater = zlib.decompressobj(-15, zdict=_USUAL)
    try:
        plain = inflater.decompress(packed, PLAIN_BYTES_MAX + 1)
    except zlib.error:
        raise ForgedInvite("This invite is typed correctly, but cannot be unpacked: ask for another one.") from None
    if len(plain) > PLAIN_BYTES_MAX or not inflater.eof or inflater.unused_data:
        raise ForgedInvite("This invite unpacks to more than an invite may hold: ask for another one.")
    return plain
