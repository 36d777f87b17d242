"""Power cuts: whatever was acknowledged is there when the power is back, and what is there is whole."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from faults import few_or_many, table, wanted
from faulty_disk import cuts, environment, events, library

from ensue.genesis import Genesis
from ensue.identity import Identity
from ensue.store import Store

SEED = 20261121
LIVES = 3

WRITER = """
import os, sys
from pathlib import Path
from bodies import AUTHORS, NETWORK, insight, record, result, sha
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.store import Blob, Store
home, life = Path(sys.argv[1]), int(sys.argv[2])
me = Identity.load_or_create(home / "node.key")
print("key", me.peer_id, flush=True)
if not (home / "genesis.json").exists():
    found(me, "n", [TrackRef("t", sha("track"))], created_ms=1).save(home / "genesis.json")
genesis = Genesis.load(home / "genesis.json")
print("genesis", genesis.network_id, flush=True)
def other(seq):
    from ensue.record import sign
    prev = None if seq == 1 else sha(str(seq))
    return sign(AUTHORS[1], network=genesis.network_id, seq=seq, prev=prev, time_ms=1, kind="insight", body=insight())
with Store(home / "replica.sqlite3", genesis.network_id) as store:
    parent = None
    for number in range(40):
        blob = Blob(b"x = 1\\n" * 2000 + b"%d %d" % (life, number), parent)
        parent = blob.sha256
        body = result(seed=number, source=blob.sha256)
        made = store.append(me, "result", body, [blob], {"done": f"{life} {number}"})
        print("made", made.seq, made.id, blob.sha256, flush=True)
        if number % 8 == 5:
            store.ingest(other(life * 1000 + number * 10 + i + 1).raw for i in range(10))
        if number % 8 == 7:
            store.outbox_done([made.id])
            store.local_set("status", "x" * 3000, durable=False)
"""


def recorded(tmp_path: Path) -> tuple[Path, Path]:
    """Let a writer live a few lives on a watched disk; return the folder it wrote to and the log of it."""
    root, log = tmp_path / "disk" / "home", tmp_path / "log"
    root.parent.mkdir()
    watched = environment(library(tmp_path), root, log=log)
    root.mkdir()
    for life in range(LIVES):
        command = [sys.executable, "-c", WRITER, str(root), str(life)]
        folder = Path(__file__).resolve().parents[1] / "ensue"
        subprocess.run(command, env={**os.environ, **watched}, cwd=folder, stdout=subprocess.PIPE, check=True)
    return root, log


@few_or_many
def test_what_was_acknowledged_is_there_after_a_power_cut(tmp_path: Path, soak: bool) -> None:
    root, log = recorded(tmp_path)
    count, number_of_events = wanted("CUTS", soak=soak), len(events(log))
    dice = random.Random(SEED)
    began, records = time.monotonic(), 0
    moments = sorted(dice.randrange(number_of_events) for _ in range(count))
    for number, disk in enumerate(cuts(log, root, moments)):
        home = tmp_path / f"after {number}"
        disk.cut(home, random.Random(f"{SEED} {number}"))
        said = [line.split() for line in disk.said.decode().splitlines(keepends=True) if line.endswith("\n")]
        records += check(home, said)
    if soak:
        took_s = round(time.monotonic() - began)
        table("power cuts", cuts=count, acknowledged_records=records, lost=0, damaged=0, forks=0, seconds=took_s)


def check(home: Path, said: list[list[str]]) -> int:
    """Assert that everything said before the cut holds after it; return how many records that were."""
    key, genesis = home / "node.key", home / "genesis.json"
    identity = Identity.generate()
    if key.exists():
        key.chmod(0o600)
    network = "0" * 64
    made: dict[str, int] = {}
    for kind, *facts in said:
        if kind == "key":
            identity = Identity.load(key)
            assert identity.peer_id == facts[0]
        elif kind == "genesis":
            network = Genesis.load(genesis).network_id
            assert network == facts[0]
        else:
            made[facts[1]] = int(facts[0])
    if network == "0" * 64:
        return 0
    with Store(home / "replica.sqlite3", network) as store:
        store.check()
        log = list(store.records(author=identity.peer_id))
        assert made.keys() <= {one.id for one in log}
        assert [one.seq for one in log] == list(range(1, len(log) + 1))
        assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])][: len(log)]
        for one in log:
            store.blob(one.body["source"])
        report = store.rebuild(check=True)
        assert report.equal
        assert report.damaged == ()
        end = store.own_log.end(identity.peer_id)
        assert end.doubt in (("copied",) if log else (None, "copied"))  # the folder was rebuilt; nothing else is wrong
        assert end.seq == len(log)
        store.own_log.confirm(identity.peer_id)
        following = store.append(identity, "insight", {"track": "0" * 64, "text": "on", "evidence": [], "agent": "a"})
        assert following.seq == len(log) + 1
    return len(made)
