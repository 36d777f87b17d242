"""kill -9 of a verifier between each two steps: no code is right twice, no credential is lost or issued twice.

Every statement that changes the ledger or the replica is a step, and so are the beginning and the end of handing a
letter over. A process is killed before each of them in turn, in a home of its own each time, and another one goes on.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults import few_or_many, table

ROOT = Path(__file__).resolve().parents[2]
POINTS_MAX = 500
EVERY = {False: 3, True: 1}

PROGRAM = """
import os, signal, sys
from pathlib import Path
import office
from ensue.identity import Identity
from ensue.store.database import Database
from verify.mailbox import Folder

ADDRESS = "ada@lovelace.org"
steps = 0

def counted(call, kill_at, after=False):
    def wrapped(*given, **named):
        global steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        found = call(*given, **named)
        if after:
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return found
    return wrapped

def life(home, kill_at):
    first, second = (Identity.load_or_create(home / name) for name in ("first.key", "second.key"))
    opened = office.Office(home)
    opened.verified(ADDRESS, first)
    opened.now_ms += 8 * office.DAY_MS
    Database.run = counted(Database.run, kill_at)
    Folder.deliver = counted(Folder.deliver, kill_at, after=True)
    opened.restart()
    asked = opened.ask(ADDRESS, second)
    (home / "asked").write_text(asked.challenge)
    assert opened.confirm(asked.challenge, opened.code()).status == 200
    opened.service.postman.tidy()
    opened.close()

def after(home):
    first, second = (Identity.load(home / name) for name in ("first.key", "second.key"))
    opened = office.Office(home)
    opened.now_ms += 8 * office.DAY_MS
    opened.service.postman._ledger.letters_due(opened.now_ms)
    opened.service.postman.deliver()
    issued = [one for one in opened.store.records(kind="credential") if one.body["account"] == second.peer_id]
    select = "SELECT id, state FROM challenges WHERE account = ?"
    rows = opened.service.postman._ledger._database.rows(select, (second.peer_id,))
    what = rows[0][1] if rows else "nothing"
    if not rows:
        assert issued == []
        opened.verified(ADDRESS, second)
    elif what == "waiting":
        assert issued == []
        challenge, code = rows[0][0], opened.code()
        assert opened.confirm(challenge, code).status == 200, "a letter whose code is not right"
        assert office.refusal(opened.confirm(challenge, code)).error == "used"
    else:
        assert what == "done", what
        assert len(issued) == 1, "lost, or issued twice"
        state = opened.get(f"/v1/challenges/{rows[0][0]}")
        assert b'"confirmed"' in state.body
        assert office.refusal(opened.confirm(rows[0][0], opened.code())).error == "used"
    log = list(opened.store.records(author=opened.verifier.peer_id))
    assert [one.seq for one in log] == [1, 2], "a gap, a fork, or one too many"
    assert [one.body["account"] for one in log] == [first.peer_id, second.peer_id]
    assert log[1].body["supersedes"]["account"] == first.peer_id
    assert opened.store.rebuild(check=True).equal
    standing = [opened.store.people.standing(one.peer_id, opened.now_ms).official for one in (first, second)]
    assert standing == [False, True]
    held = opened.service.postman._ledger.holder(bytes.fromhex(log[1].body["address"]))
    assert held.account == second.peer_id
    opened.service.postman.tidy()
    opened.close()
    left = [path.name for path in home.glob("verifier/ledger*") if b"lovelace" in path.read_bytes()]
    assert left == []
    return what

for line in sys.stdin:
    home, kill_at = line.rsplit(" ", 1)
    home = Path(home)
    home.mkdir()
    child = os.fork()
    if child == 0:
        try:
            life(home, int(kill_at))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0
    print("killed" if killed else "ended", after(home), flush=True)
"""


@pytest.mark.timeout(1200)
@few_or_many
def test_a_verifier_killed_between_each_two_steps(tmp_path: Path, soak: bool) -> None:
    began, met = time.monotonic(), dict.fromkeys(("nothing", "waiting", "done"), 0)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/verify'}"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for point in range(1, POINTS_MAX, EVERY[soak]):
            parent.stdin.write(f"{tmp_path / str(point)} {point}\n")
            parent.stdin.flush()
            word, _, what = parent.stdout.readline().partition(" ")
            if word == "ended":
                break
            assert word == "killed", f"before step {point}"
            met[what.strip()] += 1
        else:
            raise AssertionError("there is no end to the steps")
        parent.stdin.close()
    assert all(met.values()), met
    if soak:
        table(
            "kill -9 of a verifier",
            points=sum(met.values()),
            nothing_asked=met["nothing"],
            code_waiting=met["waiting"],
            code_was_right=met["done"],
            issued_twice=0,
            lost=0,
            codes_right_twice=0,
            seconds=round(time.monotonic() - began),
        )
