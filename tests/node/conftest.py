"""A home as a node leaves it after some research: real key, real genesis, real signed records in a real replica."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ensue import statements
from ensue.genesis import TrackRef, found
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import sign
from ensue.store import Blob, Store, ownlog
from experiments import track as tracks
from experiments.experiment import experiment_key
from node.cli.main import cli
from node.home import Home

BASELINE = '''"""A tiny script."""
MATRIX_LR = 0.02  # [0.002 .. 0.2] log; Muon's learning rate
DEPTH = 4  # [2 .. 8] ; blocks


def load_model(checkpoint, device):
    """Return the model."""
    return None
'''
HARMFUL = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u2069 \x9b31m"


@dataclass
class Research:
    """A founded home with records to ask about; `add` signs one more result."""

    home: Home
    identity: Identity
    store: Store
    track: str

    def add(
        self,
        status: str,
        value: float | None,
        source: str,
        description: str,
        parent: str | None = None,
        parent_source: str | None = None,
        **more: Any,
    ) -> str:
        """Sign and store one result with its script; return its id."""
        blob = Blob(source.encode(), parent=None)
        body: dict[str, Any] = {
            "track": self.track,
            "experiment": experiment_key(self.track, parent_source, source),
            "claim": None,
            "parent": parent,
            "status": status,
            "metric": "val_bpb",
            "direction": "min",
            "value": value,
            "holdout": None if value is None else value + 0.001,
            "holdout_gap": None if value is None else 0.001,
            "holdout_gap_sd": None if value is None else 0.002,
            "seed": 7,
            "clock": "cpu",
            "budget_s": 120.0,
            "setup_s": 1.5,
            "train_wall_s": 61.0,
            "cpu_s": 120.0,
            "score_s": 4.0,
            "overhead_s": 0.2,
            "wall_s": 66.7,
            "cpu_share": 0.98,
            "contended": False,
            "tokens_reported": 1_000_000,
            "hardware_class": "cpu-2t-avx512-128",
            "device": "cpu",
            "sandbox": "bubblewrap",
            "software": "python 3.11, torch 2.13",
            "source": blob.sha256,
            "source_bytes": len(source),
            "log": None,
            "description": description,
            "change": [],
            "reason": None if value is not None else "it fell over",
            "agent": "ada",
            "proposer": "optuna",
        }
        return self.store.append(self.identity, "result", body | more, [blob]).id

    def vouch(self) -> None:
        """Let a verifier, named by the founder, vouch for the account that this node speaks for."""
        account, verifier = Identity(bytes([41]) * 32), Identity(bytes([42]) * 32)
        store, network = self.store, self.store.network
        store.append(self.identity, "delegation", statements.delegation(account, network, self.identity.peer_id))
        change = {"epoch": 1, "previous": network, "verifiers": [verifier.peer_id], "needed": 1}
        signature = statements.sign_quorum(self.identity, statements.quorum_statement(network, **change))
        store.append(self.identity, "quorum", change | {"signatures": [signature.model_dump()]})
        vouched = {"account": account.peer_id, "address": "a" * 64, "expires_ms": 2**52, "request": "b" * 64}
        given = sign(verifier, network=network, seq=1, prev=None, time_ms=1, kind="credential", body=vouched)
        assert store.ingest([given.raw]).accepted


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home that the commands use."""
    for name in [name for name in os.environ if name.startswith("AUTORESEARCH_") and "_SWARM" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUTORESEARCH_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def founded(home: Home) -> Iterator[Research]:
    """A founded home without results."""
    home.create()
    identity = Identity.load_or_create(home.key)
    track = tracks.load("sotu").id
    genesis = found(identity, "autoresearch", [TrackRef("sotu", track)], created_ms=1_700_000_000_000)
    ownlog.begin(home.database, genesis.network_id, identity.peer_id)
    genesis.save(home.genesis)
    with Store(home.database, genesis.network_id, Trust.of(genesis)) as store:
        yield Research(home, identity, store, track)


@pytest.fixture
def research(founded: Research) -> Research:
    """Six results of all fates: a line of three kept ones, a discarded, a crashed and a refused one."""
    better = BASELINE.replace("0.02", "0.04")
    best = better.replace("DEPTH = 4", "DEPTH = 5")
    first = founded.add("kept", 1.6123, BASELINE, "baseline")
    second = founded.add("kept", 1.6050, better, "matrix lr 0.02 → 0.04", first, BASELINE)
    founded.add("discarded", 1.6201, better.replace("0.04", "0.1"), "matrix lr 0.04 → 0.1", second, better)
    log = Blob(("step 1\n" + HARMFUL).encode())
    founded.store.append(founded.identity, "insight", _insight(founded.track, second), [log])
    founded.add("crashed", None, better + "\n1/0\n", "divide", second, better, log=log.sha256)
    founded.add("refused", None, better + f"\n# {HARMFUL}\n", f"peek {HARMFUL}", second, better, reason="it peeked")
    founded.add("kept", 1.5991, best, "depth 4 → 5", second, better)
    return founded


def _insight(track: str, evidence: str) -> dict[str, Any]:
    return {
        "track": track,
        "text": "A larger matrix learning rate helps at depth 4.",
        "evidence": [evidence],
        "scope": "depth 4",
        "valid_days": None,
        "agent": "ada",
    }


Invoke = Callable[..., Result]


@pytest.fixture
def invoke() -> Invoke:
    """Run a command in this process; returns click's result with stdout, stderr and exit code."""

    def call(*arguments: str, code: int = 0, **more: Any) -> Result:
        done = CliRunner().invoke(cli, list(arguments), prog_name="autoresearch", **more)
        unexpected = done.exception is not None and not isinstance(done.exception, SystemExit)
        assert not unexpected, f"{arguments}: {done.exception!r}"
        assert done.exit_code == code, f"{arguments}: {done.exit_code}\n{done.output}"
        return done

    return call


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own."""

    def call(*arguments: str, timeout_s: float = 60.0, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "node.cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, **more)

    return call
