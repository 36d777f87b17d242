"""Ed25519 in plain integers (RFC 8032, section 5.1), slow and independent of the tested library: to make edge cases."""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    cross = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P,
    )


def multiply(scalar: int, point: Point) -> Point:
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def with_y(y: int) -> Point | None:
    """Return the point of a y with even x, or None where the curve has none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_ONE % P
    if x * x % P != square:
        return None
    return (P - x if x % 2 else x, y)


BASE: Point = with_y(4 * pow(5, -1, P) % P) or IDENTITY


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def torsion() -> list[Point]:
    """Return the eight points whose order divides 8, the identity first, each a multiple of one of order 8."""
    y = 2
    while True:
        point = with_y(y)
        if point is not None:
            found = multiply(L, point)
            if multiply(4, found) != IDENTITY:
                return [multiply(i, found) for i in range(8)]
        y += 1


def secret_scalar(seed: bytes) -> int:
    head = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return head & ((1 << 254) - 8) | 1 << 254


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % L


def decode(encoded: bytes) -> Point | None:
    """Return the point of 32 bytes, or None where there is none or the spelling is not the canonical one."""
    number = int.from_bytes(encoded, "little")
    y, odd = number & ((1 << 255) - 1), number >> 255
    point = with_y(y) if y < P else None
    if point is None or (odd and point[0] == 0):
        return None
    return (P - point[0], y) if odd else point


def strictly_verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return the verdict of rule I2 of docs/PROTOCOL.md, computed from its text."""
    key, r, s = decode(public), decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or key is None or r is None or s >= L:
        return False
    if IDENTITY in (multiply(8, key), multiply(8, r)):
        return False
    return multiply(s, BASE) == add(r, multiply(challenge(signature[:32], public, message), key))
