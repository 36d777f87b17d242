"""Two nodes, one experiment: the loser of a claim turns away, waits for what it needs, and is not kept from working."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BASELINE, Research

from ensue.genesis import Genesis
from ensue.identity import Identity
from ensue.record import Record, sign
from ensue.store import Store
from node import turns
from node.turns import GIVEN_WAY_MAX, Turns

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tracks/tiny"
DEADLINE_S = 60.0


class Rival:
    """Another node, as far as its records go."""

    def __init__(self, store: Store) -> None:
        self.identity = Identity.generate()
        self._store = store
        self._last: Record | None = None

    def say(self, kind: str, body: dict[str, Any], below: str | None = None) -> Record:
        """Sign a record and put it into the replica; with an id lower than `below`."""
        for number in range(1000):
            record = sign(
                self.identity,
                network=self._store.network,
                seq=1 if self._last is None else self._last.seq + 1,
                prev=None if self._last is None else self._last.id,
                time_ms=number,
                kind=kind,
                body=body,
            )
            if below is None or record.id < below:
                break
        assert self._store.ingest([record.raw]).accepted == (record.id,)
        self._last = record
        return record


def wait_for(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def test_the_loser_turns_away_waits_and_builds_on_what_the_winner_found(tmp_path: Path) -> None:
    home, track = tmp_path / "home", tmp_path / "patient"
    shutil.copytree(TINY, track)
    script = (TINY / "baseline.py").read_text()
    (track / "baseline.py").write_text(script.replace("in range(PASSES):", "in range(PASSES * 1_000_000):"))
    environment = {**os.environ, "AUTORESEARCH_HOME": str(home), "AUTORESEARCH_TRACK": str(track)}
    environment["AUTORESEARCH_DISK_FREE_BYTES"] = "0"
    command = [sys.executable, "-m", "node.cli.main", "join", "--plain", "--experiments", "1"]
    node = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for((home / "genesis.json").exists)
        wait_for((home / "replica.sqlite3").exists)
        with Store(home / "replica.sqlite3", Genesis.load(home / "genesis.json").network_id) as store:
            claim = wait_for(lambda: next(store.records(kind="claim"), None))
            rival = Rival(store)
            theirs = rival.say("claim", {**claim.body, "agent": "rival"}, below=claim.id)
            gone = wait_for(lambda: next(store.records(kind="retraction"), None))
            assert gone.body["target"] == claim.id
            assert "another node was first" in gone.body["reason"]
            waiting = wait_for(
                lambda: (json.loads(store.local_get("node") or "{}")).get("phase", "").endswith("elsewhere")
            )
            assert waiting
            assert len(list(store.records(kind="claim"))) == 2
            body = {
                **{name: theirs.body[name] for name in ("track", "experiment", "parent", "source", "description")},
                "claim": theirs.id,
                "status": "kept",
                "metric": "val_bpb",
                "direction": "min",
                "value": 7.0,
                "holdout": 7.0,
                "holdout_gap": 0.0,
                "holdout_gap_sd": 0.1,
                "seed": 1,
                "clock": "cpu",
                "budget_s": 1,
                "setup_s": 1,
                "train_wall_s": 1,
                "cpu_s": 1,
                "score_s": 1,
                "overhead_s": 0,
                "wall_s": 4,
                "cpu_share": 1,
                "contended": False,
                "tokens_reported": 10,
                "hardware_class": "another",
                "device": "cpu",
                "sandbox": "bubblewrap",
                "software": "torch",
                "source_bytes": 10,
                "log": None,
                "change": [],
                "reason": None,
                "checks": {},
                "agent": "rival",
                "proposer": "optuna",
            }
            found = rival.say("result", {name: value for name, value in body.items() if name != "checks"})
            out, err = node.communicate(timeout=DEADLINE_S)
            assert node.returncode == 0, out + err
            made = [one for one in store.records(kind="result") if one.id != found.id]
            assert [one.body["parent"] for one in made] == [found.id]
            assert store.rebuild(check=True).equal
    finally:
        node.send_signal(signal.SIGKILL)
        node.communicate()


def test_who_takes_over_and_finishes_nothing_is_not_given_way_to_for_ever(
    founded: Research, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "ASK_EVERY_S", 0.0)
    store, mine = founded.store, Turns(founded.store)
    rival = Rival(store)

    def contest(number: int) -> tuple[Record, Record | None]:
        body = {
            "track": founded.track,
            "experiment": f"{number:064x}",
            "parent": None,
            "source": "0" * 64,
            "description": "x",
            "change": [],
            "expectation": None,
            "hypothesis": None,
            "ttl_s": 600,
            "agent": "a",
            "proposer": "p",
        }
        own = store.append(founded.identity, "claim", body)
        theirs = rival.say("claim", body, below=own.id)
        lost = mine.lost(own.id)
        if lost is not None:
            mine.give_way(lost)
        return theirs, lost

    contests = [contest(number) for number in range(GIVEN_WAY_MAX + 2)]
    assert [lost is not None for _, lost in contests] == [True] * GIVEN_WAY_MAX + [False] * 2
    other = Rival(store)
    rival, given = other, rival
    assert contest(100)[1] is not None  # another author is given way to all the same
    rival = given
    founded.add("kept", 1.5, BASELINE, "x", experiment=f"{0:064x}")
    assert contest(101)[1] is not None  # one of those experiments was finished


def test_the_replica_is_asked_now_and_then_only(founded: Research, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(type(founded.store.claims), "beaten_by", lambda _self, claim: asked.append(claim))
    mine = Turns(founded.store)
    for _ in range(1000):
        assert mine.lost("0" * 64) is None
    assert 1 <= len(asked) <= 5
