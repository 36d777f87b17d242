"""`verify` from a headless shell: with real verifiers on loopback, some of them down, foreign, or lying."""

import base64
import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke

from ensue.errors import UserError
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import sign
from ensue.store import Store, ownlog
from experiments import track as tracks
from node import account as accounts
from node import participant, verifiers
from node.home import Home
from node.serving import Serving, bound, url_of
from verify.request import ANSWER_BYTES_MAX
from verify.service import Service
from verify.settings import Settings

DAY_MS = 86_400_000
EMAIL = "you@example.org"
KEYS = [Identity(bytes([60 + number]) * 32) for number in range(3)]
CODE = re.compile(r"\b\d\d-\d{4}-\d{4}\b")


@dataclass
class Network:
    """A home that has joined a network of three verifiers, two of which are needed."""

    home: Home
    store: Store
    node: Identity
    account: str
    genesis: Genesis
    folder: Path

    @contextmanager
    def verifier(self, number: int, **settings: Any) -> Iterator[tuple[str, Path]]:
        """Run a verifier with a replica of its own; yield its URL and the folder of its letters."""
        folder = self.folder / f"verifier-{number}"
        folder.mkdir(exist_ok=True)
        replica = folder / "replica.sqlite3"
        key = folder / "verifier.key"
        if not key.exists():
            key.write_bytes(KEYS[number].file_bytes())
            key.chmod(0o600)
            ownlog.begin(replica, self.genesis.network_id, KEYS[number].peer_id)
        with Store(replica, self.genesis.network_id, Trust.of(self.genesis)) as store:
            store.ingest([record.raw for record in self.store.records()])
            service = Service(folder, store, Settings(trial=True, **settings), network_name="test")
            listening = bound("127.0.0.1:0")
            try:
                with Serving(service, listening):
                    yield url_of(listening), folder / "mail"
            finally:
                service.close()


@pytest.fixture
def network(home: Home, tmp_path: Path) -> Iterator[Network]:
    home.create()
    node = Identity.load_or_create(home.key)
    refs = [TrackRef("sotu", tracks.load("sotu").id)]
    trusted, policy = [key.peer_id for key in KEYS], {"verifiers_needed": 2}
    genesis = found(node, "test", refs, created_ms=1_700_000_000_000, verifiers=trusted, policy=policy)
    ownlog.begin(home.database, genesis.network_id, node.peer_id)
    genesis.save(home.genesis)
    with Store(home.database, genesis.network_id, Trust.of(genesis)) as store:
        account = accounts.settle(home, store, node)
        assert account is not None
        yield Network(home, store, node, account, genesis, tmp_path)


def announce(network: Network, number: int, url: str) -> None:
    """Let a verifier say where it is reached, far on in its log, so that what it signs here does not fork it."""
    body, here = {"url": url, "name": f"verifier {number}"}, network.store.network
    made = sign(KEYS[number], network=here, seq=9, prev="ab" * 32, time_ms=1, kind="verifier", body=body)
    assert network.store.ingest([made.raw]).accepted


def code_in(letters: Path, within_s: float = 10.0) -> str:
    """Return the code in the newest letter, which a thread of the verifier writes."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for letter in sorted(letters.glob("*.eml"))[::-1]:
            found = CODE.search(letter.read_text())
            if found:
                return found[0]
        time.sleep(0.01)
    raise AssertionError(f"no letter in {letters}")


def asked(invoke: Invoke, *arguments: str, code: int = 0) -> dict[str, Any]:
    return dict(json.loads(invoke("verify", "--json", *arguments, code=code).stdout))


def test_two_of_three_verifiers_make_an_account_official(network, invoke):
    with network.verifier(0) as (one, letters), network.verifier(2) as (three, more_letters):
        document = asked(invoke, EMAIL, "--verifier", one, "--verifier", three)
        assert (document["official"], document["vouching"], document["needed"]) == (False, [], 2)
        assert [entry["verifier"] for entry in document["awaited"]] == [KEYS[0].peer_id, KEYS[2].peer_id]
        first, second = code_in(letters), code_in(more_letters)
        wrong = f"{first[:-1]}{(int(first[-1]) + 1) % 10}"
        assert "(4 tries left)" in invoke("verify", "--code", wrong, code=1).stderr
        assert "(3 tries left)" in invoke("verify", "--code", wrong.replace("-", " "), code=1).stderr
        document = asked(invoke, "--code", first)
        assert (document["official"], document["vouching"]) == (False, [KEYS[0].peer_id])
        document = asked(invoke, "--code", second.replace("-", " "))
        assert (document["official"], document["awaited"]) == (True, [])
        assert "no code is awaited" in invoke("verify", "--code", first, code=1).stderr
    rows = network.store.people.credentials(network.account)
    assert [(row.verifier, row.counts) for row in rows] == [(KEYS[0].peer_id, True), (KEYS[2].peer_id, True)]
    assert "verified" in invoke("verify").stdout
    shown = json.loads(invoke("status", "--json").stdout)["account"]
    assert (shown["official"], shown["renewal_due"]) == (True, False)
    assert EMAIL.encode() not in network.home.database.read_bytes()


def test_verifiers_are_found_by_what_they_announced_and_only_those_missing_are_asked(network, invoke):
    with ExitStack() as stack:
        running = [stack.enter_context(network.verifier(number)) for number in range(3)]
        for number, (url, _) in enumerate(running):
            announce(network, number, url)
        document = asked(invoke, EMAIL)
        assert len(document["awaited"]) == 2
        for entry in document["awaited"]:
            number = [key.peer_id for key in KEYS].index(entry["verifier"])
            document = asked(invoke, "--code", code_in(running[number][1]))
        assert document["official"]
        assert len(asked(invoke, EMAIL)["awaited"]) == 2, "a renewal asks as many as are needed"


def test_the_link_is_noticed_without_a_code(network, invoke):
    import httpx

    with network.verifier(1) as (url, letters):
        entry = asked(invoke, EMAIL, "--verifier", url)["awaited"][0]
        code = code_in(letters)
        challenge = participant.awaited(network.store)[0].challenge
        assert asked(invoke)["awaited"] == [entry]
        assert httpx.post(f"{url}/confirm/{challenge}", data={"code": code}).status_code == 200
        document = asked(invoke)
        assert (document["awaited"], document["vouching"]) == ([], [KEYS[1].peer_id])


def test_one_that_is_down_or_not_trusted_does_not_keep_the_others(network, invoke):
    stranger = Identity(bytes([99]) * 32)
    down = url_of(closed := bound("127.0.0.1:0"))
    closed.close()
    with network.verifier(0) as (good, letters), answering(about(network, stranger)) as foreign:
        document = asked(invoke, EMAIL, "--verifier", down, "--verifier", foreign, "--verifier", good)
        assert [entry["verifier"] for entry in document["awaited"]] == [KEYS[0].peer_id]
        assert "cannot be reached" in document["failed"][0]
        assert "which this network does not trust" in document["failed"][1]
        assert asked(invoke, "--code", code_in(letters))["vouching"] == [KEYS[0].peer_id]
    shown = invoke("verify", EMAIL, "--verifier", down, code=1).stderr
    assert "cannot be reached" in shown
    assert shown.count("\n") == 1
    assert "has not said where it is reached" in invoke("verify", EMAIL, code=1).stderr


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("you@example.org\r\nBcc: all@example.org", "refuses"),
        ("x" * 250 + "@example.org", "1 to 254 characters"),
        ("почта@example.org", "refuses"),
        ("nobody", "refuses"),
        ("you@mailinator.com", "refuses"),
        ("", "1 to 254 characters"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(network, invoke, address, said):
    with network.verifier(0) as (url, letters):
        shown = invoke("verify", address, "--verifier", url, code=1).stderr
        assert said in shown
        assert shown.count("\n") == 1
        assert not list(letters.glob("*"))
    assert participant.awaited(network.store) == []


# Verifiers that lie: whatever they answer, nothing of it is believed

Answers = dict[tuple[str, str], tuple[int, bytes]]


@contextmanager
def answering(answers: Answers, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Serve answers that were made up, on loopback; yield the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            path = re.sub(r"[0-9a-f]{32}$", "ID", self.path)
            status, body = answers.get((self.command, path), (404, b"{}"))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def about(there: Network, key: Identity, **more: Any) -> Answers:
    said = {"network": there.store.network, "verifier": key.peer_id, "name": "x"} | more
    challenge = {"challenge": "ab" * 16, "tag": "12", "expires_s": 600, "said": "A letter \x1b[2J is on its way."}
    return {
        ("GET", "/v1/verifier"): (200, json.dumps(said).encode()),
        ("POST", "/v1/challenges"): (202, json.dumps(challenge).encode()),
    }


def credential(there: Network, key: Identity = KEYS[0], kind: str = "credential", **more: Any) -> bytes:
    """Return the answer of a verifier that gives a record of its own making."""
    now_ms = time.time_ns() // 1_000_000
    body = {"account": there.account, "address": "a" * 64, "expires_ms": now_ms + DAY_MS, "request": "b" * 64}
    body = {"track": "c" * 64, "text": "no credential"} if kind == "insight" else body
    network = more.pop("network", there.store.network)
    made = sign(key, network=network, seq=1, prev=None, time_ms=now_ms, kind=kind, body=body | more)
    return json.dumps({"credential": base64.b64encode(made.raw).decode()}).encode()


LIES: dict[str, tuple[Callable[[Network], bytes], str]] = {
    "of another key": (lambda n: credential(n, KEYS[1]), "that another key has signed"),
    "of another account": (lambda n: credential(n, account=KEYS[2].peer_id), "of another account"),
    "of another network": (lambda n: credential(n, network="d" * 64), "no credential of this network"),
    "expired": (lambda n: credential(n, expires_ms=1), "that has expired already"),
    "of another kind": (lambda n: credential(n, kind="insight"), "another record than a credential"),
    "against the rules of its kind": (lambda n: credential(n, address="short"), "no credential of this network"),
    "garbage": (lambda n: json.dumps({"credential": "AAAA"}).encode(), "no credential of this network"),
    "no base64": (lambda n: json.dumps({"credential": "!"}).encode(), "something that no verifier says"),
    "no JSON": (lambda n: b"<html>", "something that no verifier says"),
    "endless": (lambda n: b" " * (ANSWER_BYTES_MAX + 1), "more than a verifier says"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_credential_that_is_none_is_not_taken_in(network, invoke, lie):
    make, said = LIES[lie]
    before = network.store.count()
    with answering(about(network, KEYS[0]) | {("POST", "/v1/confirmations"): (200, make(network))}) as url:
        document = asked(invoke, EMAIL, "--verifier", url)
        assert "\\x1b[2J" in document["said"][0]
        shown = invoke("verify", "--code", "12-3456-7890", code=1).stderr
    assert said in shown
    assert shown.count("\n") == 1
    assert network.store.count() == before
    assert len(participant.awaited(network.store)) == 1, "the code is not lost"


def test_a_verifier_that_has_forked_its_log_is_not_believed(network, invoke):
    network.store.ingest([base64.b64decode(json.loads(credential(network, address="e" * 64))["credential"])])
    with answering(about(network, KEYS[0]) | {("POST", "/v1/confirmations"): (200, credential(network))}) as url:
        asked(invoke, EMAIL, "--verifier", url)
        assert "one number of its log twice" in invoke("verify", "--code", "12-3456-7890", code=1).stderr
    assert not network.store.people.standing(network.account, time.time_ns() // 10**6).covering


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (lambda n: about(n, KEYS[0], network="e" * 64), "belongs to another network"),
        (lambda n: about(n, KEYS[0], verifier="nobody"), "something that no verifier says"),
        (lambda n: {}, "something that no verifier says"),
        (lambda n: {("GET", "/v1/verifier"): (200, b"[" * 100_000)}, "something that no verifier says"),
        (lambda n: {("GET", "/v1/verifier"): (302, b"")}, "points elsewhere"),
        (lambda n: {("GET", "/v1/verifier"): (500, b'{"error":"busy","said":"\\u001b[2J later"}')}, "\\x1b[2J later"),
    ],
)
def test_whoever_answers_otherwise_is_not_asked(network, invoke, answers, said):
    with answering(answers(network), {"location": "http://127.0.0.1:1/v1/verifier"}) as url:
        shown = invoke("verify", EMAIL, "--verifier", url, code=1).stderr
    assert said in shown
    assert shown.count("\n") == 1


def test_one_who_announced_an_address_is_no_other(network, invoke):
    """At the address that one verifier announced another one answers."""
    with answering(about(network, KEYS[1])) as url:
        announce(network, 0, url)
        assert "ask for its address anew" in invoke("verify", EMAIL, code=1).stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://verifier.example.org", "is not encrypted"),
        ("http://127.0.0.1.example.org", "is not encrypted"),
        ("ftp://verifier.example.org", "is no address of a verifier"),
        ("verifier.example.org", "is no address of a verifier"),
        ("https://", "is no address of a verifier"),
        ("https://user:word@verifier.example.org", "is no address of a verifier"),
        ("https://verifier.example.org/?a=b", "is no address of a verifier"),
        ("https://[::1", "is no address of a verifier"),
        ("https://verifier.example.org:99999", "is no address of a verifier"),
        ("https://x\x1b[2J", "is no address of a verifier"),
    ],
)
def test_addresses_of_verifiers(url, said):
    with pytest.raises(UserError, match=said):
        verifiers.checked_url(url)


def test_plain_http_is_for_this_machine_or_by_wish():
    for url in (
        "http://localhost:8025/",
        "http://127.0.0.1:8025",
        "http://[::1]:8025",
        "https://verifier.example.org/x",
    ):
        assert verifiers.checked_url(url) == url.rstrip("/")
    assert verifiers.checked_url("http://10.0.0.2", insecure_http=True) == "http://10.0.0.2"


def test_codes_that_are_none(network, invoke):
    for typed in ("", "12", "12-3456-789x", "1" * 100, "１２-3456-7890", "\x1b[2J"):
        shown = invoke("verify", "--code", typed, code=1).stderr
        assert "ten digits" in shown
        assert shown.count("\n") == 1
    assert "no code is awaited" in invoke("verify", "--code", "12-3456-7890", code=1).stderr
    assert "exclude each other" in invoke("verify", EMAIL, "--code", "1", code=1).stderr


def test_a_damaged_note_of_what_is_awaited_is_nothing(network):
    for text in ("{", "[]", "[3]", '[{"verifier":1}]', '{"a":1}', "[" * 9999):
        network.store.local_set(participant.NOTE, text)
        assert participant.awaited(network.store) == []


def test_what_is_awaited_is_bounded_and_forgotten_in_time(network):
    now_ms = time.time_ns() // 1_000_000
    old = participant.Awaited("v", None, "old", "11", network.account, now_ms - 2 * participant.FORGOTTEN_AFTER_MS)
    many = [
        participant.Awaited("v", None, f"{number}", "12", network.account, now_ms + 60_000) for number in range(100)
    ]
    participant.keep(network.store, [old, *many])
    found = participant.awaited(network.store)
    assert [one.challenge for one in found] == [f"{number}" for number in range(100 - participant.AWAITED_MAX, 100)]


def test_without_verifiers_there_is_one_sentence(founded, invoke):
    accounts.settle(founded.home, founded.store, founded.identity)
    assert "trusts no verifier" in invoke("verify", EMAIL, code=1).stderr
    assert "no: this network trusts no verifier" in invoke("status").stdout
