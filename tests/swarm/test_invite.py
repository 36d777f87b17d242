"""Invites: one line in and out, whatever mail programs and typing fingers do to it; and what joining does to a home."""

import base64
import json
import random
import string
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import LogInDoubt, StoreError, UserError
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity, public_key_from_peer_id
from ensue.store import ownlog
from node.founding import enter
from node.home import Home
from node.swarm import invite
from node.swarm.address import BadAddress
from node.swarm.invite import (
    BadInvite,
    ForgedInvite,
    Invite,
    MistypedInvite,
    NewerInvite,
    NotAnInvite,
    decode,
    encode,
    founded_by,
    qr,
)
from node.swarm.peerbook import PeerBook

FOUNDER, OTHER = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)
TRACKS = [TrackRef("climbmix", "2f" * 32), TrackRef("sotu", bytes(range(32)).hex())]
GENESIS = found(FOUNDER, "autoresearch", TRACKS, created_ms=1_763_722_000_000)
ADDRESSES = (
    f"/ip4/203.0.113.77/tcp/41573/p2p/{FOUNDER.peer_id}",
    f"/ip4/192.168.178.23/udp/41573/quic-v1/p2p/{FOUNDER.peer_id}",
    f"/dns/node.example.org/tcp/4001/p2p/{OTHER.peer_id}/p2p-circuit/p2p/{FOUNDER.peer_id}",
    f"/ip6/2001:db8::7/tcp/4001/p2p/{OTHER.peer_id}",
)
LINE = encode(GENESIS, ADDRESSES[:2])


def wrapped(body: bytes) -> str:
    """Return the line whose checks all hold for any body."""
    letters = base64.b32encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=").lower()
    groups = [letters[at : at + 30] for at in range(0, len(letters), 30)]
    return invite.PREFIX + "".join(group + invite._check(group, number) for number, group in enumerate(groups))


def packed(plain: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=invite._USUAL)
    return deflater.compress(plain) + deflater.flush()


def test_a_line_holds_the_genesis_and_addresses():
    for count in range(len(ADDRESSES) + 1):
        line = encode(GENESIS, ADDRESSES[:count])
        assert decode(line) == Invite(GENESIS, ADDRESSES[:count])
        assert decode(line).genesis.raw == GENESIS.raw
        assert line.startswith("autoresearch1:")
        assert "\n" not in line
        assert line.isascii()


def test_a_line_is_short():
    assert len(LINE) < 400
    assert len(encode(GENESIS, ADDRESSES)) < 550


def test_more_addresses_than_fit_are_cut_and_doubles_are_said_once():
    many = [f"/ip4/192.0.2.{number}/tcp/4001/p2p/{OTHER.peer_id}" for number in range(1, 20)]
    assert decode(encode(GENESIS, [many[0], *many])).addresses == tuple(many[: invite.ADDRESSES_MAX])
    with pytest.raises(BadAddress):
        encode(GENESIS, ["http://example.org"])


@given(st.data())
def test_any_genesis_comes_back(data: st.DataObject):
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
    keys = [data.draw(st.binary(min_size=32, max_size=32)).hex() for _ in range(data.draw(st.integers(0, 5)))]
    policy = data.draw(st.dictionaries(texts, texts | st.integers(-(2**53) + 1, 2**53 - 1), max_size=10))
    policy |= {"keys": keys * 2, "fits": "".join(keys)[: data.draw(st.integers(0, 320))], "peer": OTHER.peer_id}
    policy["almost"] = OTHER.peer_id[:-1] + data.draw(st.sampled_from("123ABCabc"))
    genesis = found(FOUNDER, "home", TRACKS, created_ms=5, policy=policy, verifiers=[OTHER.peer_id])
    chosen = data.draw(st.lists(st.sampled_from(ADDRESSES), unique=True))
    again = decode(encode(genesis, chosen))
    assert (again.genesis.raw, again.addresses) == (genesis.raw, tuple(chosen))


def test_the_largest_genesis_fits():
    noise = random.Random(5).randbytes(63_000)
    policy = {"noise": base64.b85encode(noise).decode()[:64_000]}
    genesis = found(FOUNDER, "home", TRACKS, created_ms=5, policy=policy)
    assert len(genesis.raw) > 64_000
    many = [f"/ip4/192.0.2.{number}/tcp/4001/p2p/{OTHER.peer_id}" for number in range(1, 9)]
    line = encode(genesis, many)
    assert len(line) < invite.INVITE_CHARS_MAX / 1.5
    assert decode(line) == Invite(genesis, tuple(many))
    assert qr(line, 500, 500) is None


def test_many_keys_stay_in_the_text():
    hashes = [random.Random(number).randbytes(32).hex() for number in range(300)]
    genesis = found(FOUNDER, "home", [], created_ms=5, policy={"hashes": hashes})
    assert decode(encode(genesis)).genesis == genesis


@pytest.mark.parametrize(
    "change",
    [
        lambda line: f"  {line}\n",
        lambda line: "\n".join(line[at : at + 60] for at in range(0, len(line), 60)),
        lambda line: "\r\n".join("> " + line[at : at + 72] for at in range(0, len(line), 72)),
        lambda line: "=\n".join(line[at : at + 75] for at in range(0, len(line), 75)),
        lambda line: "\\\n".join(line[at : at + 75] for at in range(0, len(line), 75)),
        lambda line: f'"{line}"',
        lambda line: f"‘{line}’",
        lambda line: f"Come in:\n\nautoresearch join '{line}'.",
        lambda line: f"<{line}>",
        lambda line: f"`{line}`",
        lambda line: line.upper(),
        lambda line: "autoresea\nrch1:\n" + line[14:],
        lambda line: "\u200b".join(line[at : at + 50] for at in range(0, len(line), 50)),
        lambda line: line[:100] + "\u00a0 \t" + line[100:] + "\ufeff",
    ],
)
def test_what_mail_and_terminals_do_to_it_is_put_up_with(change):
    assert decode(change(LINE)) == Invite(GENESIS, ADDRESSES[:2])


def test_any_wrong_character_is_refused():
    """Every place with every other character that could be typed there."""
    keys = string.ascii_lowercase + string.digits + "!#$%&()*+,-./:;?@[]^_{}~é☃"
    for at, right in enumerate(LINE):
        for wrong in keys:
            if wrong != right:
                with pytest.raises(BadInvite):
                    decode(LINE[:at] + wrong + LINE[at + 1 :])


def test_any_lost_doubled_or_exchanged_character_is_refused():
    for at in range(1, len(LINE)):  # what stands before an invite is no part of it
        for text in (
            LINE[: at - 1] + LINE[at:],
            LINE[:at],
            LINE[: at + 1] + LINE[at:],
            LINE[:at] + LINE[at : at + 2][::-1] + LINE[at + 2 :],
        ):
            if text != LINE:
                with pytest.raises(BadInvite):
                    decode(text)


@given(st.lists(st.tuples(st.integers(14, len(LINE) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))))
def test_any_wrong_characters_are_refused(changes: list[tuple[int, str]]):
    letters = list(LINE)
    for at, letter in changes:
        letters[at] = letter
    if "".join(letters) == LINE:
        assert decode("".join(letters)).genesis == GENESIS
    else:
        with pytest.raises(MistypedInvite):
            decode("".join(letters))


def test_a_typing_error_is_located():
    at = len(invite.PREFIX) + 100  # the 101st character: in the fourth group, of 94 to 124
    wrong = LINE[:at] + ("b" if LINE[at] == "a" else "a") + LINE[at + 1 :]
    with pytest.raises(MistypedInvite, match="between its characters 94 and 124 after the colon"):
        decode(wrong)
    with pytest.raises(MistypedInvite, match="character 101 after the colon is '0'"):
        decode(LINE[:at] + "0" + LINE[at + 1 :])
    with pytest.raises(MistypedInvite, match="its end is missing"):
        decode(LINE[:-7])
    groups = LINE[14:107] + LINE[138:]  # a whole group is gone, so each of those behind it is at a wrong place
    with pytest.raises(MistypedInvite, match="between its characters 94 and"):
        decode(LINE[:14] + groups)


@given(st.text() | st.text("autoresearch1:>=\n abc234", min_size=20) | st.text().map(lambda text: invite.PREFIX + text))
def test_any_text_is_refused(text: str):
    with pytest.raises(BadInvite) as caught:
        decode(text)
    assert len(str(caught.value)) < 400


@given(st.binary(max_size=300))
def test_any_body_with_right_checks_is_refused(body: bytes):
    with pytest.raises(BadInvite):
        decode(wrapped(body))


@given(st.binary(max_size=300), st.integers(0, 3))
def test_any_unpacked_text_is_refused(plain: bytes, keys: int):
    with pytest.raises(ForgedInvite):
        decode(wrapped(bytes([keys]) + bytes(32 * keys + 64) + packed(plain)))


def test_each_fault_has_its_sentence():
    payload = GENESIS.raw[64:]
    forged = GENESIS.raw[:63] + bytes([GENESIS.raw[63] ^ 1])
    cases = [
        ("hello", NotAnInvite, "This is no invite"),
        ("", NotAnInvite, "This is no invite"),
        (LINE[13:], NotAnInvite, "This is no invite"),
        ("autoresearch0:" + LINE[14:], NotAnInvite, "This is no invite"),
        (LINE * 1000, NotAnInvite, "too long"),
        ("autoresearch2:" + LINE[14:], NewerInvite, "of version 2 .* update"),
        (wrapped(b"\0" + GENESIS.raw[:64] + packed(b"\x01\0")), ForgedInvite, "keys that it does not hold"),
        (wrapped(b"\0" + forged + packed(payload)), ForgedInvite, "not signed by its founder"),
        (wrapped(b"\0" + GENESIS.raw[:64] + packed(payload + b" " * 70_000)), ForgedInvite, "more than"),
        (wrapped(b"\0" + GENESIS.raw[:64] + packed(payload) + b"x"), ForgedInvite, "more than"),
        (wrapped(b"\0" + GENESIS.raw[:64] + b"\xff\xff"), ForgedInvite, "cannot be unpacked"),
        (wrapped(b"\0" + GENESIS.raw[:64] + packed(b" " * 65_500)), ForgedInvite, "too large"),
    ]
    for text, error, words in cases:
        with pytest.raises(error, match=words) as caught:
            decode(text)
        said = str(caught.value)
        assert said.endswith(".")
        assert "\n" not in said


def test_addresses_of_a_kind_unknown_here_are_left_out():
    told = [b"/ip4/192.0.2.1/tcp/4001/carrier-pigeon", ADDRESSES[0].encode(), b"\xff\x1b[2J", ADDRESSES[0].encode()]
    line = wrapped(b"\0" + GENESIS.raw[:64] + packed(b"\0".join([GENESIS.raw[64:], *told])))
    assert decode(line) == Invite(GENESIS, ADDRESSES[:1])


@pytest.mark.parametrize("plain", [b" " * 3_000_000, b"\x01\0" * 30_000, b"\0" * 60_000, b"\x02\0" * 30_000])
def test_bombs_are_bounded(plain: bytes):
    line = wrapped(b"\x01" + public_key_from_peer_id(OTHER.peer_id) + GENESIS.raw[:64] + packed(plain))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ForgedInvite):
        decode(line)
    spent_s, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
    assert spent_s < 2


@pytest.mark.parametrize("text", [c * (invite.INVITE_CHARS_MAX - 14) for c in "a: \n>2é"])
def test_long_texts_are_bounded(text: str):
    began = time.process_time()
    for line in (text, invite.PREFIX + text):
        with pytest.raises(BadInvite):
            decode(line)
    assert time.process_time() - began < 2


def test_the_qr_code_is_the_line():
    drawn = qr(LINE, 80, 40)
    assert drawn is not None
    rows = [row.removeprefix("\x1b[30;47m").removesuffix("\x1b[0m") for row in drawn.split("\n")]
    halves = {" ": (0, 0), "▄": (0, 1), "▀": (1, 0), "█": (1, 1)}
    modules = [[halves[c][half] for c in row] for row in rows for half in (0, 1)]
    code = segno.make(LINE.upper(), error="l", boost_error=False, micro=False)
    wanted = [list(row) for row in code.matrix_iter(border=2)]
    assert modules[: len(wanted)] == wanted
    assert code.mode == "alphanumeric"  # else each character would take 8 bits and not 5.5
    wide, high = len(rows[0]), len(rows)
    assert qr(LINE, wide, high) == drawn
    assert qr(LINE, wide - 1, high) is None
    assert qr(LINE, wide, high - 1) is None


# What joining does to a home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_new_home_joins_the_network_of_the_invite(home: Home):
    for _ in range(2):
        member = founded_by(home, decode(LINE))
        with member.store:
            assert member.genesis == GENESIS == Genesis.load(home.genesis)
            assert member.founded is False
            assert member.identity.peer_id not in (FOUNDER.peer_id, OTHER.peer_id)
            book = PeerBook.load(member.store, member.identity.peer_id)
            assert [peer.addresses for peer in book.all()] == [list(ADDRESSES[:2])]
            assert book.all()[0].learnt == "invite"
            member.store.append(member.identity, "insight", lesson())
    with enter(home).store as store:
        assert store.count() == 2


def lesson() -> dict[str, object]:
    return {"track": TRACKS[0].id, "text": "t", "evidence": [], "scope": "s", "valid_days": None, "agent": "a"}


def test_a_home_of_the_network_takes_the_addresses(home: Home):
    member = founded_by(home, None)
    assert member.founded
    member.store.close()
    with founded_by(home, Invite(member.genesis, ADDRESSES[3:])).store as store:
        assert [peer.peer_id for peer in PeerBook.load(store, member.identity.peer_id).all()] == [OTHER.peer_id]


def test_a_home_of_another_network_is_left_as_it_is(home: Home):
    founded_by(home, None).store.close()
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    with pytest.raises(
        UserError, match=f"belongs to the network autoresearch .*{GENESIS.network_id[:10]}.*AUTORESEARCH_HOME"
    ):
        founded_by(home, decode(LINE))
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before


def test_a_replica_of_another_network_without_its_genesis_is_left_as_it_is(home: Home):
    founded_by(home, None).store.close()
    home.genesis.unlink()
    with pytest.raises(StoreError):
        founded_by(home, decode(LINE))
    assert not home.genesis.exists()


def test_a_restored_key_signs_nothing_before_its_owner_says_so(home: Home):
    """It may have signed in this very network, on a machine that is gone."""
    home.create()
    Identity.load_or_create(home.key)
    with pytest.raises(LogInDoubt, match="doctor --restored"):
        founded_by(home, decode(LINE))
    assert home.founded  # so that the owner can say it


@pytest.mark.parametrize("invited", [None, decode(LINE)], ids=["founding", "joining"])
def test_a_kill_at_any_moment_of_the_first_start_costs_nothing(
    home: Home, invited: Invite | None, monkeypatch: pytest.MonkeyPatch
):
    """Whichever file was the last one to appear, the next start goes on and signs."""

    class Killed(BaseException):
        pass

    steps: list[tuple[object, str]] = [(ownlog, "begin"), (Genesis, "save"), (Path, "unlink"), (Home, "create")]
    for number, (owner, name) in enumerate(steps):
        for after in (False, True):
            place = Home(home.path / f"{number}{after}")
            real = getattr(owner, name)

            def dying(*arguments: object, real=real, after=after, **more: object) -> None:
                if after:
                    real(*arguments, **more)
                raise Killed

            with monkeypatch.context() as patched:
                patched.setattr(owner, name, dying)
                with pytest.raises(Killed):
                    founded_by(place, invited)
            member = founded_by(place, invited)
            with member.store:
                member.store.append(member.identity, "insight", lesson())
            assert [path.name for path in place.path.iterdir() if path.name.startswith(".node.key")] == []


def test_joining_twice_at_once_makes_one_key(home: Home):
    first = founded_by(home, decode(LINE))
    home.key.with_name(".node.key.new").write_bytes(b"left over")
    again = founded_by(home, decode(LINE))
    assert first.identity.peer_id == again.identity.peer_id
    assert not home.key.with_name(".node.key.new").exists()
    first.store.close()
    again.store.close()


def test_the_vector_of_the_protocol():
    """What version 1 of the format is, byte for byte, for every other implementation."""
    vector = json.loads((Path(__file__).parent.parent / "vectors/invite.json").read_text())
    assert decode(vector["line"]) == Invite(
        Genesis.decode(bytes.fromhex(vector["genesis_hex"])), tuple(vector["addresses"])
    )
    body = base64.b32decode(padded("".join(letters_of(vector["line"]))))
    assert body[:-4].hex() == vector["body_hex"]
    assert invite._USUAL.hex() == vector["dictionary_hex"]


def letters_of(line: str) -> list[str]:
    letters = line.removeprefix(invite.PREFIX)
    return [letters[at : at + 31][:-1] for at in range(0, len(letters), 31)]


def padded(letters: str) -> str:
    return letters.upper() + "=" * (-len(letters) % 8)
