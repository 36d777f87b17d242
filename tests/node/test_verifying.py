"""The verifier inside a home: founded with the network, served while a node runs, and the commands about verifiers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from ensue.genesis import found
from ensue.identity import Identity
from ensue.store import ownlog
from node import founding, serving, verifying
from node.cli.main import cli
from node.home import Home, open_replica
from verify.request import challenge_request

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def founded(home: Home) -> Home:
    founding.enter(home).store.close()
    return home


@pytest.fixture
def call() -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def test_a_network_that_is_founded_alone_trusts_the_verifier_in_its_home(founded: Home):
    verifier = verifying.own(founded)
    assert verifier is not None
    assert (verifying.folder(founded) / "verifier.key").stat().st_mode & 0o777 == 0o600
    with open_replica(founded) as store:
        trusted = store.people.in_force()
        assert (trusted.verifiers, trusted.needed) == ((verifier,), 1)
        assert store.own_log.require(verifier).doubt is None
    founding.enter(founded).store.close()
    assert verifying.own(founded) == verifier


def test_who_joins_others_has_no_verifier_until_one_is_served(founded: Home, tmp_path: Path):
    member = founding.enter(founded)
    member.store.close()
    guest = Home(tmp_path / "guest")
    founding.enter(guest, member.genesis).store.close()
    assert verifying.own(guest) is None
    with open_replica(guest) as store, verifying.served(guest, store, "127.0.0.1:0", pytest.fail):
        assert store.local_get(verifying.LISTENS_NOTE) is None


def test_a_kill_while_founding_costs_nothing(home: Home):
    home.create()
    verifier = verifying.founded_with(home)  # and then the process was killed
    founding.enter(home).store.close()
    assert verifying.own(home) == verifier
    with open_replica(home) as store:
        assert store.own_log.require(verifier).doubt is None


def test_a_command_asks_the_verifier_of_its_home_without_a_port(founded: Home):
    account = Identity.generate()

    async def conversation(store) -> str:
        async with verifying.in_process(founded, store) as client:
            about = (await client.get("/v1/verifier")).json()
            request = challenge_request(
                account, network=store.network, verifier=about["verifier"], email="ada@example.org", nodes=[]
            )
            answer = await client.post("/v1/challenges", content=request.model_dump_json())
            assert answer.status_code == 202
        return answer.json()["challenge"]

    with open_replica(founded) as store:
        challenge = asyncio.run(conversation(store))
        (letter,) = (verifying.folder(founded) / "mail").iterdir()
        code = next(line.strip() for line in letter.read_text().splitlines() if line.strip()[2:3] == "-")

        async def confirm() -> httpx.Response:
            async with verifying.in_process(founded, store) as client:
                return await client.post("/v1/confirmations", json={"challenge": challenge, "code": code})

        assert asyncio.run(confirm()).status_code == 200
        assert store.people.standing(account.peer_id, 0).official


def wait_for(url: Callable[[], str | None]) -> str:
    """Return a URL once there is one."""
    for _ in range(500):
        if found := url():
            return found
        time.sleep(0.02)
    raise AssertionError("it is not served")


def test_a_node_serves_its_verifier_while_it_runs(founded: Home):
    with open_replica(founded) as store:
        with verifying.served(founded, store, "127.0.0.1:0", pytest.fail):
            url = wait_for(lambda: store.local_get(verifying.LISTENS_NOTE))
            assert httpx.get(f"{url}/v1/verifier").json()["verifier"] == verifying.own(founded)
        assert store.local_get(verifying.LISTENS_NOTE) is None
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/v1/verifier")
        with verifying.served(founded, store, verifying.OFF, pytest.fail):
            assert not [one for one in threading.enumerate() if one.name == "verifying"]


@pytest.mark.parametrize("told", [True, False])
def test_it_answers_where_its_own_file_says(founded: Home, told: bool):
    with serving.bound("127.0.0.1:0") as free:
        wanted = serving.url_of(free)
    if told:
        at = wanted.removeprefix("http://")
        (verifying.folder(founded) / "verifier.toml").write_text(f'url = "{wanted}"\nlisten = "{at}"\n')
    with open_replica(founded) as store, verifying.served(founded, store, verifying.AUTO, pytest.fail):
        url = wait_for(lambda: store.local_get(verifying.LISTENS_NOTE))
        assert (url == wanted) is told
        assert httpx.get(f"{url}/v1/verifier").json()["verifier"] == verifying.own(founded)


@pytest.mark.parametrize("spoil", ["port", "settings"])
def test_a_verifier_that_cannot_be_served_keeps_nobody_from_research(founded: Home, spoil: str):
    told, ready = [], threading.Event()

    def note(words: str) -> None:
        told.append(words)
        ready.set()

    with open_replica(founded) as store, serving.bound("127.0.0.1:0") as taken:
        taken.listen()
        if spoil == "settings":
            (verifying.folder(founded) / "verifier.toml").write_text("nonsense = 1\n")
        listen = f"127.0.0.1:{taken.getsockname()[1]}" if spoil == "port" else "127.0.0.1:0"
        with verifying.served(founded, store, listen, note):
            assert ready.wait(20)
    assert "is not served" in told[0]


def test_the_trusted_verifiers_are_changed_by_a_file(founded: Home, call: Callable[..., Result], tmp_path: Path):
    other, path = Identity.generate().peer_id, tmp_path / "change.json"
    first = verifying.own(founded)
    path.write_text(call("verifier", "propose", "--add", other, "--needed", "2").stdout)
    assert call("verifier", "publish", str(path)).exit_code == 1
    assert "give --yes" in call("verifier", "sign", str(path)).output
    assert "1 of 1 signatures" in call("verifier", "sign", str(path), "--yes").output
    assert "1 of 1 signatures" in call("verifier", "sign", str(path), "--yes").output  # once more changes nothing
    assert call("verifier", "publish", str(path)).exit_code == 0
    shown = json.loads(call("verifier", "list", "--json").output)
    assert (shown["epoch"], shown["needed"]) == (1, 2)
    assert [one["peer_id"] for one in shown["verifiers"]] == [first, other]
    assert [one["here"] for one in shown["verifiers"]] == [True, False]
    assert "changed since" in call("verifier", "publish", str(path)).output
    # Two are in force now, so one signature is not enough.
    path.write_text(call("verifier", "propose", "--remove", other, "--needed", "1").stdout)
    assert "1 of 2 signatures" in call("verifier", "sign", str(path), "--yes").output
    assert call("verifier", "publish", str(path)).exit_code == 1


def test_a_proposal_that_somebody_altered_is_worth_nothing(founded: Home, call: Callable[..., Result], tmp_path: Path):
    path = tmp_path / "change.json"
    path.write_text(call("verifier", "propose", "--add", Identity.generate().peer_id).stdout)
    call("verifier", "sign", str(path), "--yes")
    signed = json.loads(path.read_text())
    for changed in (
        *({"needed": 2}, {"verifiers": [Identity.generate().peer_id]}, {"network": "0" * 64}, {"epoch": 2}),
        *({"previous": "0" * 64}, {"signatures": []}, {"signatures": [{"verifier": "x", "signature": "y"}]}),
        *({"verifiers": []}, {"ended": "x"}, {"signatures": "x"}),
    ):
        path.write_text(json.dumps({**signed, **changed}))
        answer = call("verifier", "publish", str(path))
        assert (answer.exit_code, answer.output.count("\n")) == (1, 1)
    with open_replica(founded) as store:
        assert list(store.records(kind="quorum")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("propose",),
        ("propose", "--add", "12D3KooWnobody"),
        ("propose", "--remove", Identity.generate().peer_id),
        ("propose", "--add", Identity.generate().peer_id, "--needed", "3"),
        ("sign", "/nowhere/at/all"),
        ("publish", "/dev/null"),
        ("withdraw", "abcd"),
        ("serve", "--listen", "nowhere"),
        ("serve", "--url", "ftp://x"),
    ],
    ids=lambda one: " ".join(one)[:30],
)
def test_what_cannot_be_is_said_in_a_sentence(founded: Home, call: Callable[..., Result], arguments: tuple[str, ...]):
    answer = call("verifier", *arguments)
    assert answer.exit_code == 1
    assert answer.output.startswith("autoresearch: ")
    assert answer.output.count("\n") == 1


def test_a_verifier_that_signs_too_many_is_shown_with_an_alarm(home: Home, call: Callable[..., Result]):
    home.create()
    founder, verifier = Identity.load_or_create(home.key), verifying.founded_with(home)
    policy = {"credentials_per_day_max": 1}
    genesis = found(founder, "strict", [], created_ms=1, verifiers=[verifier], policy=policy)
    for peer_id in (founder.peer_id, verifier):
        ownlog.begin(home.database, genesis.network_id, peer_id)
    genesis.save(home.genesis)
    key = Identity.load(verifying.folder(home) / "verifier.key")
    with open_replica(home) as store:
        for number in range(2):
            assert "ALARM" not in call("verifier", "list").output
            body = {"account": Identity.generate().peer_id, "address": f"{number:064d}", "expires_ms": 2**50}
            made = store.append(
                key, "credential", {**body, "nodes": [], "request": f"{number:064d}", "supersedes": None}
            )
    assert "ALARM" in call("verifier", "list").output
    assert json.loads(call("verifier", "list", "--json").output)["verifiers"][0]["alarm"] is True
    assert call("verifier", "withdraw", made.id[:12], "--reason", "spam").exit_code == 0
    with open_replica(home) as store:
        assert not store.people.credentials(made.body["account"])[0].counts


def test_serve_runs_until_it_is_told_to_stop(founded: Home):
    environment = {**os.environ, "AUTORESEARCH_HOME": str(founded.path)}
    command = [sys.executable, "-m", "node.cli.main", "verifier", "serve", "--listen", "127.0.0.1:0"]
    command += ["--url", "https://verify.example.org", "--name", "Ada"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        url = lines[1].split()[2].rstrip(",")
        assert httpx.get(f"{url}/v1/verifier").json()["name"] == "Ada"
        again = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with open_replica(founded) as store:
        said = store.people.announced(str(verifying.own(founded)))
        assert said is not None
        assert (said.url, said.name) == ("https://verify.example.org", "Ada")
