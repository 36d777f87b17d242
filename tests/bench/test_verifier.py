"""How many challenges a verifier takes, with a real mail server on loopback; prints a Markdown table.

`make bench ARGS=tests/bench/test_verifier.py`. Verifier, mail server and clients are processes of their own on one
machine. AUTORESEARCH_BENCH_CHALLENGES is how many are asked for (default 2,000).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, local

import httpx
import pytest

from ensue.genesis import Genesis, found
from ensue.identity import Identity
from ensue.people import Trust
from ensue.store import Store, ownlog
from verify.request import challenge_request
from verify.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CHALLENGES = int(os.environ.get("AUTORESEARCH_BENCH_CHALLENGES", "2000"))
CLIENTS = (1, 4)
WAIT_S = 120

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

MAIL_SERVER = """
import asyncio, re, sys
from aiosmtpd.controller import Controller

class Desk:
    async def handle_DATA(self, server, session, envelope):
        text = envelope.original_content.decode()
        mark = re.search(r"^    @(\\S+)\\r?$", text, re.M)[1]
        print(mark, re.search(r"^    (\\d\\d-\\d{4}-\\d{4})\\r?$", text, re.M)[1], flush=True)
        return "250 taken"

made = Controller(Desk(), hostname="127.0.0.1", port=int(sys.argv[1]))
made.start()
print("ready", flush=True)
sys.stdin.read()
"""


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def founded(home: Path) -> Genesis:
    home.mkdir(mode=0o700)
    founder = Identity.load_or_create(home / "node.key")
    verifier = Identity.load_or_create(home / "verifier" / "verifier.key")
    genesis = found(founder, "bench", [], created_ms=1, verifiers=[verifier.peer_id])
    for one in (founder, verifier):
        ownlog.begin(home / "replica.sqlite3", genesis.network_id, one.peer_id)
    genesis.save(home / "genesis.json")
    Store(home / "replica.sqlite3", genesis.network_id, Trust.of(genesis)).close()
    return genesis


@contextmanager
def process(*command: str, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=pipe,
        stdout=pipe,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    ) as made:
        try:
            yield made
        finally:
            made.terminate()


def percentile(times: list[float], share: float) -> float:
    return 1000 * sorted(times)[min(len(times) - 1, int(len(times) * share))]


class Clients:
    """Several clients, each with a connection that it keeps."""

    def __init__(self, url: str, count: int) -> None:
        self._url, self._count, self._own = url, count, local()

    def post(self, path: str, body: bytes) -> tuple[float, httpx.Response]:
        if not hasattr(self._own, "client"):
            self._own.client = httpx.Client(base_url=self._url, timeout=60)
        began = time.perf_counter()
        answer = self._own.client.post(path, content=body)
        return time.perf_counter() - began, answer

    def all(self, path: str, bodies: list[bytes]) -> tuple[float, list[float], list[httpx.Response]]:
        began = time.perf_counter()
        with ThreadPoolExecutor(self._count) as pool:
            found = list(pool.map(lambda body: self.post(path, body), bodies))
        return time.perf_counter() - began, [took for took, _ in found], [answer for _, answer in found]


def test_challenges_and_confirmations(tmp_path: Path) -> None:
    genesis, port = founded(tmp_path / "home"), free_port()
    limits = {name: "1000000" for name in Settings.model_fields if name.endswith(("_an_hour", "_a_day"))}
    chosen = {
        **limits,
        "listen": "127.0.0.1:0",
        "smtp_host": "127.0.0.1",
        "smtp_port": str(port),
        "smtp_security": "none",
        "from_address": "verifier@post.org",
        "domain_accounts": "1000000",
    }
    environment = {f"AUTORESEARCH_VERIFIER_{name.upper()}": value for name, value in chosen.items()}
    environment["AUTORESEARCH_HOME"] = str(tmp_path / "home")
    rows = []
    with (
        process("-c", MAIL_SERVER, str(port)) as mail,
        process("-m", "node.cli.main", "verifier", "serve", environment=environment) as service,
    ):
        assert mail.stdout is not None
        assert service.stdout is not None
        assert mail.stdout.readline() == "ready\n"
        url = next(line.split()[2].rstrip(",") for line in service.stdout if line.startswith("answers at"))
        Thread(target=service.stdout.read, daemon=True).start()  # a log that nobody reads would hold the service up
        verifier = httpx.get(f"{url}/v1/verifier").json()["verifier"]
        for clients in CLIENTS:
            rows += measured(genesis, verifier, Clients(url, clients), clients, mail.stdout.readline)
    print("\n| what | clients | a second | p50 ms | p99 ms |\n|:--|--:|--:|--:|--:|")
    for what, count, rate, times in rows:
        print(f"| {what} | {count} | {rate:.0f} | {percentile(times, 0.5):.1f} | {percentile(times, 0.99):.1f} |")


def measured(
    genesis: Genesis, verifier: str, clients: Clients, count: int, next_letter: Callable[[], str]
) -> list[tuple[str, int, float, list[float]]]:
    """Return rows of what was measured: challenges, their letters, and the confirmations."""
    accounts = [Identity.generate() for _ in range(CHALLENGES)]
    asked = [
        challenge_request(
            one, network=genesis.network_id, verifier=verifier, email=f"me@{one.peer_id[-12:].lower()}{n}.org", nodes=[]
        )
        for n, one in enumerate(accounts)
    ]
    began = time.perf_counter()
    seconds, times, answers = clients.all("/v1/challenges", [one.model_dump_json().encode() for one in asked])
    assert {answer.status_code for answer in answers} == {202}
    codes = dict(next_letter().split() for _ in accounts)
    delivered = time.perf_counter() - began
    bodies = [
        b'{"challenge":"%s","code":"%s"}' % (answer.json()["challenge"].encode(), codes[one.peer_id[-8:]].encode())
        for one, answer in zip(accounts, answers, strict=True)
    ]
    confirm_s, confirm_times, done = clients.all("/v1/confirmations", bodies)
    assert {answer.status_code for answer in done} == {200}
    return [
        ("challenges", count, CHALLENGES / seconds, times),
        ("letters at the mail server", count, CHALLENGES / delivered, [delivered / CHALLENGES]),
        ("confirmations", count, CHALLENGES / confirm_s, confirm_times),
    ]
