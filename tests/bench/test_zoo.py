"""The whole zoo, as `make zoo` runs it: nobody gains, nothing is read, nobody survives, the host goes on answering.

ZOO_SCORINGS says how often each honest script is scored (50 in `make zoo`), ZOO_ONLY which creatures come (a regular
expression), ZOO_REPORT where the table is written besides the screen.
"""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "experiments"))  # whose creatures these are

from creature import HONEST_VALUE, creatures  # noqa: E402
from zoo_host import Host  # noqa: E402
from zoo_report import page  # noqa: E402
from zoo_visit import Laboratory, all_honest, by_command_line, visit  # noqa: E402

from experiments import sandbox, supervisor, track  # noqa: E402

TINY = ROOT / "tests" / "tracks" / "tiny"
SCORINGS = int(os.environ.get("ZOO_SCORINGS", "3"))
ONLY = re.compile(os.environ.get("ZOO_ONLY", ""))
REPORT = os.environ.get("ZOO_REPORT", "")
HOST_ANSWERS_S = 0.2  # threats.md, row 3
BUSY_MACHINE = 5.0  # the bound that fails; the table has the figures
QUIET_S = 3.0
BY_COMMAND_LINE = (
    "cheat_prints_fake_metric", "cheat_fakes_every_file", "cheat_peeks", "cheat_peeks_rarely", "cheat_peeks_one_in_20",
    "cheat_mixes_rows", "cheat_learns_slowly", "cheat_nests_deep", "cheat_picks_own_seed", "cheat_trains_past_deadline",
    "cheat_trains_in_orphan", "cheat_swaps_checkpoint", "cheat_preloads_code", "attack_read_secrets",
    "attack_read_proc", "attack_read_canaries", "attack_environment", "attack_network", "attack_sockets",
    "attack_fork_bomb", "attack_memory", "attack_disk", "attack_daemon", "attack_kernel",
)  # fmt: skip


def chosen(kind):
    return [one for one in creatures(kind).values() if ONLY.search(f"{kind}_{one.name}")]


@pytest.fixture
def lab(tmp_path):
    tiny = track.load(TINY)
    return Laboratory(tiny, track.prepare(tiny, tmp_path / "data"), sandbox.detect(), tmp_path / "run")


@pytest.fixture
def host():
    here = Host()
    yield here
    here.close()


@pytest.mark.bench
@pytest.mark.timeout(4 * 3600)
def test_the_whole_zoo(lab, host, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "STALL_S", 3.0)
    began = time.monotonic()
    time.sleep(QUIET_S)
    quiet_s = host.pinger.slowest_s(began)
    load = os.getloadavg()[0]
    visits = []
    for creature in [*chosen("cheat"), *chosen("attack")]:
        visits.append(visit(creature, lab, host))
        one = visits[-1]
        print(f"{creature.kind}_{creature.name}: {', '.join(one.statuses)}, host {one.slowest_s * 1000:.0f} ms, "
              f"{'as expected' if one.as_expected else 'UNEXPECTED ' + repr(one)}",
              flush=True)  # fmt: skip
    monkeypatch.undo()  # an honest script may have to wait for a processor
    lines = [
        (name, *by_command_line(name, tmp_path / "home", TINY)) for name in BY_COMMAND_LINE if ONLY.search(name)
    ]
    honest = all_honest(chosen("honest"), lab, SCORINGS)
    took_s = time.monotonic() - began
    facts = [
        f"isolation: {lab.level.label}; Linux {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}; the whole took {took_s / 60:.0f} minutes",
        f"the host's longest wait in {QUIET_S:g} s without a creature: {quiet_s * 1000:.0f} ms (load {load:.1f})",
        f"secrets laid out: {len(host.canaries.files)} files, {len(host.canaries.listeners)} listening sockets, and "
        "one in the environment, in an inherited descriptor, in a process's arguments and in its memory",
    ]
    text = page(visits, honest, lines, facts, HONEST_VALUE)
    print(text)
    if REPORT:
        Path(REPORT).write_text(text)
    wrong = [one.creature.name for one in visits if not (one.as_expected or one.creature.open)]
    assert wrong == []
    assert [one.creature.name for one in honest if one.refusals or len(one.values) < SCORINGS] == []
    assert [name for name, status, _, _ in lines if status == "broken"] == []
    assert [one.creature.name for one in visits if one.slowest_s > HOST_ANSWERS_S * BUSY_MACHINE] == []
    assert len(host.canaries.files) + len(host.canaries.listeners) >= 20


def test_the_traps_work(host):
    """What the zoo would not see, it could not deny."""
    assert host.survivors() == []
    assert host.canaries.touched() == 0
    host.canaries.files[0].read_bytes()
    assert host.canaries.touched() > 0
    forked = "import os; os.fork() or (os.setsid(), os.close(1), __import__('time').sleep(60))"
    subprocess.run([sys.executable, "-c", forked], check=True, stdout=subprocess.DEVNULL)
    (orphan,) = host.survivors()
    os.kill(orphan, signal.SIGKILL)
    os.waitpid(orphan, 0)
    began = time.monotonic()
    host.pinger.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    host.pinger.process.send_signal(signal.SIGCONT)
    assert 0.25 < host.pinger.slowest_s(began) < 30
