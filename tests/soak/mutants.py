"""Makes wrong input from right input: bits, splices, edge numbers, nesting, long and strange texts, broken trees.

Every mutant follows from a seed and a number alone, so a failure is one line to bring back.
"""

import copy
import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

BYTES_MAX = 72 * 1024
STRANGE = (
    "\x00", "\x1b[2J", "\x9b31m", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\udfff", "\U000e0041", "\u3164",
    "a\u0301" * 9, "e\u0301", "é", "\U0001f469\u200d\U0001f469", "\u2028", "İ", "ß", "ﬁ", "%s%n", "{0}", "'\"", "../..",
    "\\u0000", "=1+1", "\r\n", "NaN", "-0.0", "1e999", "0x10", "١٢", "🦜", "null", "'; DROP TABLE records", "\"*\" OR",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-1", "1", "1e-400", "1e400", "-1e308", "0.1", "2147483648", "4294967296", "9007199254740991",
    "9007199254740992", "-9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616",
    "9" * 400, "9" * 5000, "1" + "0" * 310, "1e9999999999", "NaN", "Infinity", "-Infinity", "007", "+1", "1.", ".5",
    "0x1F", "1_000", "true", "null",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, 10**400, 0.0, -0.0, 1e308, 5e-324, "",
    "x" * 201, "x" * 4000, [], {}, [[]], [None] * 40, {"": ""}, "ab" * 32, "AB" * 32, "12D3KooW", *STRANGE,
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BRACKETS = ((b"[", b"]"), (b"{", b"}"), (b"(", b")"), (b'{"a":', b"}"), (b"[", b""), (b"(", b""), (b"not ", b""))


def mutant(dice: Random, corpus: Sequence[bytes]) -> bytes:
    """Return one member of a corpus changed in one to four places; now and then unchanged but cut or doubled."""
    data = bytearray(dice.choice(corpus))
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        dice.choice(_CHANGES)(dice, data, corpus)
        if len(data) > BYTES_MAX:
            del data[BYTES_MAX:]
    return bytes(data)


def tree(dice: Random, value: Any) -> Any:
    """Return a JSON value changed in one to three places: members replaced, taken out, doubled, renamed, buried."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = list(_places(value, 0))
        if not places:
            return dice.choice(VALUES)
        holder, key = dice.choice(places)
        _change_member(dice, holder, key)
    return value


def _change_member(dice: Random, holder: Any, key: Any) -> None:
    match dice.randrange(9):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(dice.choice(VALUES))
        case 3:
            del holder[key]
        case 4:
            holder[key] = [holder[key]]
        case 5:
            for _ in range(dice.choice((2, 10, 20))):
                holder[key] = {"a": holder[key]} if dice.random() < 0.5 else [holder[key]]
        case 6 if isinstance(holder[key], str):
            at = dice.randint(0, len(holder[key]))
            holder[key] = holder[key][:at] + dice.choice(STRANGE) * dice.choice((1, 1, 1, 50)) + holder[key][at:]
        case 7 if isinstance(holder, dict):
            holder[dice.choice(STRANGE) + str(key)] = holder.pop(key)
        case 8 if isinstance(holder[key], list):
            holder[key] = holder[key] * dice.choice((2, 40))
        case _:
            holder[key] = dice.choice((str(holder[key])[:5000], dice.random() * 10 ** dice.randint(-320, 308)))


def _places(value: Any, depth: int) -> Any:
    if depth < 6 and isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], depth + 1)


def payload(fields: Any) -> bytes:
    """Return JSON as a careless sender would write it: NaN and lone surrogates included."""
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _flip(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(dice.choice((1, 1, 2, 8))):
        if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _set(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        at = dice.randrange(len(data))
        data[at : at + dice.choice((1, 2, 4, 8))] = dice.choice(
            (b"\0", b"\xff", b"\x7f\xff\xff\xff", dice.randbytes(4))
        )


def _cut(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = dice.randint(0, len(data))
    if dice.random() < 0.3:
        del data[at:]
    else:
        del data[at : at + dice.choice((1, 1, 2, 16, 300))]


def _splice(dice: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = dice.choice(corpus)
    start, at = dice.randint(0, len(other)), dice.randint(0, len(data))
    taken = other[start : start + dice.choice((4, 64, 1000, 20_000))]
    data[at : at + dice.choice((0, len(taken)))] = taken


def _double(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = dice.randint(0, len(data))
    piece = bytes(data[start : start + dice.choice((1, 10, 100, 1000))])
    data[start:start] = piece * dice.choice((1, 2, 20))


def _number(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    found = list(_NUMBER.finditer(data, dice.randint(0, len(data))))[:20]
    if found:
        match = dice.choice(found)
        data[match.start() : match.end()] = dice.choice(NUMBERS).encode()


def _strange(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = dice.randint(0, len(data))
    data[at:at] = dice.choice(STRANGE).encode("utf-8", "surrogatepass") * dice.choice((1, 1, 3, 100))


def _long(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = dice.randint(0, len(data))
    data[at:at] = dice.choice((b"A", b" ", b"\n", b"9", b'"', b"\\", b"#", b"-", b"_")) * dice.choice(
        (100, 5000, 30_000)
    )


def _nest(dice: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = dice.randint(0, len(data))
    end = min(len(data), start + dice.choice((0, 5, 50)))
    opened, closed = dice.choice(_BRACKETS)
    deep = dice.choice((5, 17, 90, 400, 3000))
    data[start:end] = opened * deep + bytes(data[start:end]) + closed * deep


_CHANGES = (_flip, _flip, _set, _cut, _splice, _double, _number, _number, _strange, _long, _nest)
