"""The service at a real port: what a client sees, and what it cannot do to others."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import httpx
import pytest
from office import ROOMY, Office, code_in, someone
from postoffice import Desk, mail_server

from ensue.identity import Identity
from node import serving
from verify.request import BODY_BYTES_MAX, ConfirmationAnswer, StateAnswer, VerifierAnswer, parsed


@pytest.fixture
def options() -> dict[str, str]:
    return dict(ROOMY)


@pytest.fixture
def served(tmp_path: Path, options: dict[str, str]) -> Iterator[tuple[Office, httpx.Client]]:
    office = Office(tmp_path, options)
    listening = serving.bound("127.0.0.1:0")
    with serving.Serving(office.service, listening), httpx.Client(base_url=serving.url_of(listening)) as client:
        yield office, client
    office.close()


def newest_code(office: Office, letters: int) -> str:
    """Wait until the thread that sends has written so many letters, and return the code in the last."""
    deadline = threading.Event()
    for _ in range(500):
        if len(office.letters()) >= letters:
            return office.code()
        deadline.wait(0.02)
    raise AssertionError("no letter")


def ask(office: Office, client: httpx.Client, email: str, account: Identity) -> httpx.Response:
    return client.post("/v1/challenges", content=office.request(email, account))


def test_all_the_way_over_http(served: tuple[Office, httpx.Client]):
    office, client = served
    about = parsed(VerifierAnswer, client.get("/v1/verifier").content)
    assert (about.verifier, about.network) == (office.verifier.peer_id, office.store.network)
    account = Identity.generate()
    asked = ask(office, client, "ada@lovelace.org", account)
    assert asked.status_code == 202
    challenge = asked.json()["challenge"]
    assert parsed(StateAnswer, client.get(f"/v1/challenges/{challenge}").content).state == "waiting"
    wrong = client.post("/v1/confirmations", json={"challenge": challenge, "code": "00-0000-0000"})
    assert (wrong.status_code, wrong.json()["error"], wrong.json()["left"]) == (403, "wrong", 4)
    done = client.post("/v1/confirmations", json={"challenge": challenge, "code": newest_code(office, 1)})
    credential = parsed(ConfirmationAnswer, done.content).credential
    state = parsed(StateAnswer, client.get(f"/v1/challenges/{challenge}").content)
    assert (state.state, state.credential) == ("confirmed", credential)
    assert office.store.people.standing(account.peer_id, office.now_ms).official


def test_the_page_confirms_by_its_button_alone(served: tuple[Office, httpx.Client]):
    office, client = served
    account = Identity.generate()
    challenge = ask(office, client, "ada@lovelace.org", account).json()["challenge"]
    code = newest_code(office, 1)
    for _ in range(3):  # as programs that look into letters do
        page = client.get(f"/confirm/{challenge}?code={code}")
        assert client.head(f"/confirm/{challenge}?code={code}").status_code == 200
    assert client.get(f"/v1/challenges/{challenge}").json()["state"] == "waiting"
    assert account.peer_id[-8:] in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    wrong = client.post(f"/confirm/{challenge}", data={"code": "00-0000-0000"})
    assert (wrong.status_code, "not right" in wrong.text) == (403, True)
    right = client.post(f"/confirm/{challenge}", data={"code": code})
    assert (right.status_code, "Confirmed" in right.text) == (200, True)
    assert client.post(f"/confirm/{challenge}", data={"code": code}).status_code == 410
    assert "Confirmed" in client.get(f"/confirm/{challenge}?code={code}").text
    assert client.get(f"/confirm/{'0' * 32}?code={code}").status_code == 410


@pytest.mark.parametrize(
    "given", ['"><script>alert(1)</script>', "</style><img src=x>", "%0d%0aSet-Cookie: a=b", "{{7*7}}"]
)
def test_the_page_repeats_what_it_was_given_as_text(served: tuple[Office, httpx.Client], given: str):
    office, client = served
    challenge = ask(office, client, someone(), Identity.generate()).json()["challenge"]
    page = client.get(f"/confirm/{challenge}", params={"code": given})
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "set-cookie" not in page.headers


ODD = [
    ("GET", "/", b"", 404),
    ("GET", "/v1/../genesis.json", b"", 404),
    ("GET", "/v1/challenges/xyz", b"", 404),
    ("GET", f"/v1/challenges/{'A' * 32}", b"", 404),
    ("DELETE", f"/v1/challenges/{'a' * 32}", b"", 405),
    ("PUT", f"/confirm/{'a' * 32}", b"", 405),
    ("POST", "/v1/verifier", b"", 405),
    ("GET", "/v1/challenges", b"", 405),
    ("POST", "/v1/challenges", b"", 400),
    ("POST", "/v1/challenges", b"[" * 10_000, 400),
    ("POST", "/v1/challenges", b'{"network": 1e999}', 400),
    ("POST", "/v1/challenges", b"\xff\xfe\x00", 400),
    ("POST", "/v1/confirmations", b'{"challenge":"' + b"a" * 32 + b'","code":"' + b"1" * 41 + b'"}', 400),
    ("POST", "/v1/challenges", b" " * (BODY_BYTES_MAX + 1), 413),
    ("POST", "/v1/challenges", b"x" * 4_000_000, 413),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ODD, ids=lambda value: str(value)[:30])
def test_odd_requests(served: tuple[Office, httpx.Client], method: str, path: str, body: bytes, status: int):
    _, client = served
    answer = client.request(method, path, content=body)
    assert answer.status_code == status
    assert len(answer.content) < 10_000
    assert answer.headers["content-type"].startswith(("application/json", "text/html"))


def test_slow_and_silent_connections_hold_nobody_up(served: tuple[Office, httpx.Client]):
    office, client = served
    at = (client.base_url.host, client.base_url.port)
    slow = [socket.create_connection(at) for _ in range(200)]
    try:
        for number, one in enumerate(slow):
            head = b"POST /v1/challenges HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n"
            one.sendall(head if number % 2 else head + b"\r\n{")
        assert ask(office, client, someone(), Identity.generate()).status_code == 202
        assert client.get("/v1/verifier").status_code == 200
    finally:
        for one in slow:
            one.close()
    assert ask(office, client, someone(), Identity.generate()).status_code == 202


def test_many_at_once_get_a_letter_each(tmp_path: Path):
    desk = Desk()
    with mail_server(desk) as port:
        more = {"smtp_host": "127.0.0.1", "smtp_port": str(port), "smtp_security": "none", "from_address": "v@post.org"}
        office = Office(tmp_path, {**ROOMY, **more})
        listening = serving.bound("127.0.0.1:0")
        with serving.Serving(office.service, listening), httpx.Client(base_url=serving.url_of(listening)) as client:
            accounts = [Identity.generate() for _ in range(40)]
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda one: ask(office, client, someone(), one), accounts))
            assert {answer.status_code for answer in answers} == {202}
            codes = {}
            for envelope in desk.wait_for(40):
                letter = message_from_bytes(envelope.original_content, policy=SMTP)
                account = letter.get_content().split("@")[1][:8]  # type: ignore[attr-defined]
                codes[account] = code_in(letter)  # type: ignore[arg-type]

            def confirm(number: int) -> httpx.Response:
                code = codes[accounts[number].peer_id[-8:]]
                message = {"challenge": answers[number].json()["challenge"], "code": code}
                return client.post("/v1/confirmations", json=message)

            with ThreadPoolExecutor(8) as pool:  # each twice, at once
                statuses = [answer.status_code for answer in pool.map(confirm, [*range(40), *range(40)])]
        assert sorted(statuses) == [200] * 40 + [410] * 40
        assert len(list(office.store.records(kind="credential"))) == 40
        office.close()


def limited(tmp_path: Path, proxies: str, forwarded: list[str]) -> list[int]:
    """Ask three times where one is allowed, each with another word about where it comes from."""
    office = Office(tmp_path, {"client_challenges_an_hour": "1", "trusted_proxies": proxies})
    listening = serving.bound("127.0.0.1:0")
    with serving.Serving(office.service, listening), httpx.Client(base_url=serving.url_of(listening)) as client:
        found = [
            client.post(
                "/v1/challenges",
                content=office.request(someone(), Identity.generate()),
                headers={"x-forwarded-for": where},
            ).status_code
            for where in forwarded
        ]
    office.close()
    return found


def test_nobody_chooses_the_address_that_is_counted(tmp_path: Path):
    assert limited(tmp_path / "0", "0", ["192.0.2.1", "192.0.2.2", "192.0.2.3"]) == [202, 429, 429]
    spoofed = [f"198.51.100.{number}, 192.0.2.1" for number in range(3)]
    assert limited(tmp_path / "1", "1", spoofed) == [202, 429, 429]
    assert limited(tmp_path / "2", "1", ["192.0.2.1", "192.0.2.2", "192.0.2.1"]) == [202, 202, 429]
    assert limited(tmp_path / "3", "2", ["192.0.2.1, 10.0.0.1", "192.0.2.2, 10.0.0.1", "x"]) == [202, 202, 202]
