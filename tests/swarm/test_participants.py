"""People behind keys, whole: real nodes, real mail on loopback, verifiers in three homes, two of which must agree."""

import re
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from nodes import Node, wait_for

from ensue.identity import Identity
from ensue.store import Store

CODE = re.compile(r"^\s+(\d\d-\d{4}-\d{4})\r?$", re.MULTILINE)


class Mail:
    """A mail server that keeps what it is given."""

    def __init__(self) -> None:
        self._lock, self._letters = threading.Lock(), list[tuple[str, str]]()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        letter = message_from_bytes(envelope.content, policy=policy.default)
        with self._lock:
            self._letters += [(to, letter.get_content()) for to in envelope.rcpt_tos]  # type: ignore[attr-defined]
        return "250 taken"

    def __enter__(self) -> "Mail":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._controller.port)

    def code(self, to: str) -> str:
        """Return the code in the next letter to an address, which is then gone."""

        def found() -> str | None:
            with self._lock:
                for place, (address, text) in enumerate(self._letters):
                    if address == to:
                        del self._letters[place]
                        return CODE.findall(text)[0]
            return None

        return wait_for(found, f"a letter to {to}")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def mail() -> Iterator[Mail]:
    with Mail() as found:
        yield found


@pytest.fixture
def nodes(tmp_path: Path, mail: Mail) -> Iterator[list[Node]]:
    made = []
    for name in ("ada", "bob", "cyd", "dan"):
        port = free_port()
        settings = {
            "LISTEN": f"127.0.0.1:{port}",
            "URL": f"http://127.0.0.1:{port}",
            "TRIAL": "true",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_SECURITY": "none",
            "FROM_ADDRESS": f"verifier@{name}.example.org",
        }
        more = {f"AUTORESEARCH_VERIFIER_{key}": value for key, value in settings.items()}
        made.append(Node(tmp_path / name, environment=more))
    yield made
    for node in made:
        node.kill()


def results_of(store: Store, node: Node) -> list[str]:
    """Return the ids of what a node measured, oldest first, as a replica has them."""
    author = Identity.load(node.home / "node.key").peer_id
    return [one.id for one in store.records(kind="result", author=author)]


def own_result(node: Node) -> str:
    """Research until there is a result of one's own, hold, and return its id."""

    def newest() -> str | None:
        found = node.read(lambda store: results_of(store, node))
        return found[-1] if len(found) > before else None

    before = len(node.read(lambda store: results_of(store, node)))
    node.run("resume")
    made = wait_for(newest, f"a result of {node.home.name}")
    node.run("pause")
    return made


def level(node: Node, result: str) -> str:
    """Return the level of a result at a node, with what is said against it; "" where it is not here yet."""
    if not node.read(lambda store: store.has(result)):
        return ""
    row = node.read(lambda store: store.result(result))
    return ", ".join((row.level, *row.flags))


def everywhere(nodes: list[Node], result: str, wanted: str) -> None:
    for node in nodes:
        wait_for(lambda node=node: level(node, result) == wanted, f"{wanted} at {node.home.name}")


def verifier_of(node: Node) -> str:
    path = node.home / "verifier" / "verifier.key"
    return wait_for(lambda: path.exists() and Identity.load(path).peer_id, "a verifier's key")


@pytest.mark.slow
def test_from_recorded_to_official_and_a_stolen_machine(nodes: list[Node], mail: Mail, tmp_path: Path) -> None:
    ada, bob, cyd, dan = nodes
    three = [ada, bob, cyd]
    ada.join("--name", "ada")
    line = ada.invite()
    bob.join(line, "--name", "bob")
    cyd.join(line, "--name", "cyd")
    for node in three:
        wait_for(node.addresses, "a node that is up")
        node.run("pause")
    found = own_result(cyd)
    everywhere(three, found, "recorded")

    # One verifier, ada's own, is what the genesis names.
    cyd.run("verify", "cyd@example.org")
    assert "official" in cyd.run("verify", "--code", mail.code("cyd@example.org"))
    everywhere(three, found, "official")
    # What cyd measured while its owner was typing "pause" is official too, and may be better.
    assert found in (official := {row["id"] for row in bob.ask("leaderboard", "--level", "official")})
    assert official <= set(bob.read(lambda store: results_of(store, cyd)))

    # Two more verifiers, of which two must agree from now on: the one in force signs that.
    for node in (bob, cyd):
        node.serve("verifier", "serve")
    proposal = tmp_path / "proposal.json"
    proposal.write_text(
        ada.run("verifier", "propose", "--add", verifier_of(bob), "--add", verifier_of(cyd), "--needed", "2")
    )
    ada.run("verifier", "sign", str(proposal), "--yes")
    ada.run("verifier", "publish", str(proposal))
    everywhere(three, found, "recorded")
    wait_for(lambda: cyd.read(lambda store: store.people.announced(verifier_of(bob))), "where bob's verifier is")
    assert "1 of 2" in cyd.run("verify")
    cyd.run("verify", "cyd@example.org")
    cyd.run("verify", "--code", mail.code("cyd@example.org"))
    everywhere(three, found, "official")

    # A second machine under the same account, with the same 24 words.
    cyd.run("keys", "backup", "--to", str(tmp_path / "words"))
    dan.join(ada.invite(), "--name", "dan")
    wait_for(dan.addresses, "dan's node")
    dan.run("pause")
    dan.run("keys", "restore", str(tmp_path / "words"))
    second = own_result(dan)
    everywhere([*three, dan], second, "official")
    accounts = {row["account"] for row in ada.ask("leaderboard", "--by", "account", "--level", "official")}
    assert len(accounts) == 1
    shown = cyd.ask("contributions")
    assert {second, found} <= {one["id"] for one in shown if one["level"] == "official"}

    # It is stolen. What it made counts on, what the thief makes does not.
    thief = Identity.load(dan.home / "node.key").peer_id
    cyd.run("keys", "revoke", thief, "--reason", "stolen")
    wait_for(lambda: dan.read(lambda store: list(store.records(kind="revocation"))), "the revocation at the thief's")
    third = own_result(dan)
    everywhere([*three, dan], third, "recorded, revoked")
    assert level(bob, second) == level(bob, found) == "official"
    assert third not in {row["id"] for row in ada.ask("leaderboard", "--limit", "1000")}
    for node in three:
        assert node.ask("rebuild", "--check")["equal"]
