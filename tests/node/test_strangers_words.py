"""A stranger's records, full of what harms a terminal, through every command and view that shows text."""

import io
import json
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import BASELINE, HARMFUL, Invoke, Research
from rich.console import Console

from ensue import statements
from ensue.errors import AutoresearchError
from ensue.identity import Identity
from ensue.record import Record, sign
from ensue.store import Blob
from experiments.workspace import Workspace
from node import plot, text
from node.cli.main import SECTIONS, cli
from node.live import LiveView
from node.swarm import status as swarm_status
from node.swarm.status import PeerStatus, SwarmStatus
from node.view import Facts, PlainView, Standing, Trying

ODD = (
    "\x1b[2J\x1b[H",  # clears the screen
    "\x1b]0;owned\x07",  # sets the window's title
    "\x1b]8;;http://evil\x07link\x1b]8;;\x07",
    "\x1b[38;5;196mred",
    "\x9b31m",  # the one-character spelling of ESC [
    "\x07\x08\x7f",
    "kept\r1.0000",  # overwrites what stands before it
    "a\nb",
    "\u202egnp.exe",  # right to left
    "\u2066\u2069\u061c",
    "zero\u200bwidth\u2060joined\ufeff",
    "\U000e0041\U000e0042",  # tags
    "\u3164\u115f\u2800",  # letters and a symbol that show nothing
    "\u2028\u2029\x85",
    "\ue000\U0010fffd",  # private
    "\u0378\U000e0fff",  # unassigned
    "g" + "\u0301" * 40,  # climbs over the lines above
    "wide\u3000space\u00a0unbroken",
    "sel\ufe0fector",
)
OWN_COLOURS = re.compile(r"\x1b\[(?:0|1|2|22|3[0-7])m")
NAMES = "x" + "\u0301" * 30 + "\u3164"  # prints and is composed, so a name may be it
EXCUSED = {
    "verify": "shows nothing of records; what a verifier says stands in test_cli_verify",
    "join": "its views stand below",
    "run": "shows what a script of one's own prints, line by line through `printable`",
    "prepare": "shows nothing of records",
    "doctor": "shows nothing of records",
    "pause": "shows nothing of records",
    "resume": "shows nothing of records",
    "submit": "shows its own record as `hypothesis` does",
    "watch": "shows the tables of `leaderboard` and lines of the same `printable`; it needs a node",
}


def odd_in(shown: str) -> set[str]:
    """What is left in a text that a terminal would obey or hide."""
    plain = OWN_COLOURS.sub("", shown).replace("\n", "")
    harmful = {c for c in plain if unicodedata.category(c) in text.ESCAPED_CATEGORIES or c in text.INVISIBLE}
    stacked = re.findall(r"[\u0300-\u036f]{4,}|[\ufe00-\ufe0f]", plain)
    return harmful | set(stacked) | {c for c in plain if unicodedata.category(c) == "Zs" and c != " "}


@pytest.fixture
def stranger(research: Research) -> dict[str, list[Record]]:
    """Records of a stranger, signed with a key of its own and taken in as from a peer."""
    identity = Identity(bytes([7]) * 32)
    honest = dict(research.store.get(research.store.results(research.track)[0].id).body)
    made: dict[str, list[Record]] = {}
    seq, blobs = 0, []

    def add(kind: str, body: dict) -> Record:
        nonlocal seq
        seq += 1
        record = sign(
            identity,
            network=research.store.network,
            seq=seq,
            prev=None if seq == 1 else "ab" * 32,
            time_ms=2**53 - 1 if seq % 2 else 0,
            kind=kind,
            body=body,
        )
        made.setdefault(kind, []).append(record)
        return record

    parent = None
    for number, words in enumerate(ODD):
        script = Blob((BASELINE + f"# {words}\nODD = {words!r}  # {{{words}, b}}\n").encode())
        log = Blob(f"step 1 {words}\n{words}Error: {words}\n".encode())
        blobs += [script, log]
        names = dict.fromkeys(("agent", "proposer"), f"{NAMES}{number}"[:40])
        labels = dict.fromkeys(("hardware_class", "device", "sandbox", "software", "metric"), f"x{NAMES}{number}")
        change = [{"knob": f"K{NAMES}", "old": words, "new": words}]
        claim = {"track": research.track, "experiment": honest["experiment"], "source": script.sha256, "ttl_s": 600}
        claim |= {"description": f"claim {words}", "change": change} | names
        claimed = add("claim", claim)
        value = {"value": 1.5 - number / 100} if number % 3 else {"value": None, "status": "refused", "reason": words}
        more = {"source": script.sha256, "log": log.sha256, "parent": parent, "claim": claimed.id, "change": change}
        body = honest | {"description": f"try {words}"} | value | more | names | labels
        parent = add("result", body).id
        text_body = {"track": research.track, "text": f"idea {words}", "change": change, "agent": names["agent"]}
        add("hypothesis", text_body | {"source": script.sha256})
        lesson = add("insight", {**text_body, "text": f"lesson {words}", "scope": words, "evidence": [parent]})
        add_reruns(add, honest, parent, words, {"agent": names["agent"]} | labels)
        said = {"insight": lesson.id, "says": "confirms", "evidence": [parent], "text": words}
        add("assessment", {"track": research.track, "agent": names["agent"]} | said)
        add("x.later", {words: {words: words}, "text": words, "agent": words})
    add("retraction", {"target": parent, "reason": " ".join(ODD)})
    account, network = Identity(bytes([8]) * 32), research.store.network
    add("delegation", statements.delegation(account, network, identity.peer_id).model_dump())
    for words in ODD:
        add("revocation", statements.revocation(account, network, account.peer_id, 1, words).model_dump())
    report = research.store.ingest([one.raw for many in made.values() for one in many], blobs)
    assert report.refused == ()
    met = tuple(PeerStatus(identity.peer_id, words, (), True, words) for words in ODD)
    said = SwarmStatus(os.getpid(), time.time_ns() // 1_000_000, why="".join(ODD), peers=met, problem="".join(ODD))
    swarm_status.write(research.store, said)
    return made


def add_reruns(add: Callable[..., Record], honest: dict[str, Any], result: str, words: str, names: Any) -> None:
    """Let somebody tell of reruns of a result; nobody has listed it, so that they are shown and do not count."""
    where = {name: names[name] for name in ("hardware_class", "device", "software")}
    told = {"track": honest["track"], "source": honest["source"], "seeds": [1, 2], "values": [1.5, 1.6]}
    add("calibration", told | where | {"agent": names["agent"]})
    rerun = {"track": honest["track"], "result": result, "parent": result, "block": 0}
    duty = add("duty", rerun | {"hardware_class": names["hardware_class"]})
    facts = {"train_wall_s": 1.0, "cpu_s": 1.0, "value": None, "status": "crashed", "reason": f"fell {words}"}
    pairs = [{"seed": 1, "child_first": False, "parent": facts, "child": facts}]
    conditions = {name: honest[name] for name in ("direction", "clock", "budget_s")}
    add("replication", rerun | conditions | names | {"duty": duty.id, "pairs": pairs})


@pytest.fixture
def shows() -> Invoke:
    """Run a command as on a terminal: colours stay, and so would what a stranger wrote."""

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(cli, list(arguments), prog_name="autoresearch", color=True)
        assert done.exit_code in (0, 1), done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done.output

    return call


def commands(stranger: dict[str, list[Record]], folder: Path) -> Iterator[list[str]]:
    for by in ("result", "agent", "account", "class", "author"):
        yield ["leaderboard", "--by", by, "--limit", "100"]
    yield ["best"]
    yield ["best", "--source"]
    yield ["best", "--diff"]
    yield ["best", "--class", ODD[0]]
    yield ["status"]
    yield ["leave"]
    yield ["peers"]
    yield ["invite"]
    yield ["contributions", "--limit", "500"]
    yield ["keys", "show"]
    yield ["verifier", "list"]
    yield ["log", "--limit", "500"]
    yield ["log", "--author", ODD[8]]
    yield ["log", "--kind", "x.later"]
    yield ["hypothesis"]
    yield ["insight"]
    yield ["config"]
    yield ["rebuild", "--check"]
    yield ["search", "try", "lesson", "idea"]
    yield ["search", ODD[8]]
    yield ["plot", "--output", str(folder / "progress.svg")]
    yield ["plot", "--lineage", "--output", str(folder / "lineage.svg")]
    yield ["compare", "--experiments", "1"]
    yield ["compare", "--class", ODD[0]]
    yield ["replicate", ODD[8]]
    yield ["reputation"]
    yield ["reputation", ODD[8]]
    yield ["assess", stranger["insight"][0].id, "--confirms", "-e", stranger["result"][0].id, *ODD]
    yield ["assess", ODD[8], "--contradicts", "-e", ODD[0]]
    yield ["export", str(folder / "memory.tar.zst")]
    yield ["export", str(folder / "results.csv")]
    yield ["export", str(folder / "results.parquet")]
    yield ["import", str(folder / "memory.tar.zst")]
    for kind, records in stranger.items():
        for record in records:
            yield ["show", record.id]
            if kind == "result":
                yield from ([name, record.id] for name in ("diff", "lineage"))
                yield from (["show", record.id, flag] for flag in ("--source", "--log"))
    yield ["retract", stranger["result"][0].id, "mine"]
    yield ["hypothesis", *ODD]
    yield ["hypothesis", "try this", "--change", f"{ODD[0]}=1"]
    yield ["insight", "learnt", ODD[4], "--scope", ODD[8]]
    yield ["show", ODD[8]]
    yield ["leaderboard", "--track", ODD[0]]


def test_every_command_writes_it_out(
    stranger: dict[str, list[Record]], shows: Invoke, research: Research, tmp_path: Path
) -> None:
    ran = set()
    for arguments in commands(stranger, tmp_path):
        ran.add(arguments[0])
        assert odd_in(shows(*arguments)) == set(), arguments
        document = shows(*arguments, "--json")
        assert not document.startswith(("{", "[")) or all(" " <= c <= "~" or c == "\n" for c in document), arguments
    offered = {name for section in SECTIONS.values() for name in section}
    assert offered - ran - EXCUSED.keys() == set(), "a command shows text that nobody has looked at"
    for drawn in (tmp_path / "progress.svg", tmp_path / "lineage.svg"):
        assert odd_in(drawn.read_text().replace("\t", "")) == set()
    assert odd_in((tmp_path / "results.csv").read_text()) == set()


def test_both_views_write_it_out(stranger: dict[str, list[Record]], research: Research) -> None:
    words = "".join(ODD)
    rows = [research.store.result(record.id) for record in stranger["result"]]
    facts = Facts(words, "12D3KooW", "ab" * 32, words, words, words, words, "cpu", 1.0, words, words, words, "/", True)
    drawn = io.StringIO()
    live = LiveView(Console(file=drawn, force_terminal=True, width=120, color_system=None))
    plain = io.StringIO()
    for view in (live, PlainView(plain)):
        standing = Standing(rows[1], rows[2], 3, 2)
        view.opened(facts, standing, rows)
        view.trying(Trying(1, words, words, 1.6, 1.5, 0.1))
        view.phase("training")
        view.note(words)
        view.waiting(words)
        for row in rows:
            view.finished(row, words, standing)
        if view is live:
            with live.console.capture() as captured:
                live.console.print(live.render())
            assert odd_in(captured.get()) == set()
        view.closed()
    assert odd_in(plain.getvalue()) == set()


def test_pictures_write_it_out(stranger: dict[str, list[Record]], research: Research, tmp_path: Path) -> None:
    rows = [row for row in research.store.results(research.track) if not row.flags]
    plot.draw(plot.sample(rows), tmp_path / "a.svg", title="".join(ODD))
    assert odd_in((tmp_path / "a.svg").read_text().replace("\t", "")) == set()


def test_commits_made_of_it_are_harmless(stranger: dict[str, list[Record]], tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "cpu")
    sha = workspace.commit("x = 1\n", "".join(ODD) + HARMFUL, None)
    message = workspace._git_call("cat-file", "commit", sha)
    assert not {c for c in message.replace("\n", "") if unicodedata.category(c) in text.ESCAPED_CATEGORIES}


def test_errors_that_repeat_it_are_one_line(
    stranger: dict[str, list[Record]], research: Research, shows: Invoke
) -> None:
    for words in ODD:
        for arguments in (
            ["show", words],
            ["diff", words],
            ["config", "set", words, "1"],
            ["config", "set", "hours", words],
        ):
            said = shows(*arguments)
            assert odd_in(said) == set()
        with pytest.raises(AutoresearchError):
            research.store.resolve(words)


def test_what_people_type_is_composed(research: Research, invoke: Invoke) -> None:
    invoke("insight", "cafe\u0301", "--scope", "e\u0301")
    invoke("hypothesis", "cafe\u0301")
    newest = list(research.store.records())[-2:]
    assert [record.body["text"] for record in newest] == ["caf\u00e9"] * 2
    assert newest[0].body["scope"] == "\u00e9"
    found = json.loads(invoke("search", "cafe\u0301", "--json").stdout)
    assert {hit["id"] for hit in found} >= {record.id for record in newest}
