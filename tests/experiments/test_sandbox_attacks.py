"""Scripts that mean harm, run for real: none obtains anything, the host stays alive, nobody survives."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from creature import creatures
from sandbox_trial import MIB, SMALL, ZOO, attack, distinct

from experiments.sandbox import Level, detect, remove_tree
from experiments.sandbox.detect import without, without_bubblewrap

LEVEL = detect()
pytestmark = pytest.mark.skipif(LEVEL.name == "none", reason="no isolation to be had on this machine")
HOST_ANSWERS_S = 0.2  # what threats.md asks during a fork bomb
BUSY_MACHINE = 3.0  # the tests share two cores with others


TRIED_ABOVE = {  # by tests of their own
    "attack_daemon", "attack_deaf", "attack_deep_folders", "attack_disk", "attack_environment", "attack_fork_bomb",
    "attack_hide_cpu", "attack_inodes", "attack_interpreter", "attack_kernel", "attack_memory",
    "attack_memory_in_children", "attack_network", "attack_persist", "attack_ptrace", "attack_read_proc",
    "attack_read_secrets", "attack_sockets", "attack_thread_bomb",
}  # fmt: skip
LEVELS = distinct(
    {"all": LEVEL, "no cgroup": without(LEVEL, "cgroup"), "no bubblewrap": without_bubblewrap(LEVEL)}
)
FILTERS = {"all": LEVEL, "no filter": without(LEVEL, "seccomp"), "no bubblewrap": without_bubblewrap(LEVEL)}


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Level:
    return LEVELS[request.param]


@pytest.fixture(params=FILTERS)
def filtered(request: pytest.FixtureRequest) -> Level:
    return FILTERS[request.param]


@pytest.fixture
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Plants one secret in some fifty places that a script may look in; cleans them up again."""
    token = f"canary-{secrets.token_hex(8)}"
    roots = [tmp_path, Path.home(), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run"), Path("/opt"),
             Path("/srv"), Path("/mnt"), Path.cwd() / "tests", Path("/var/lib"), Path("/etc"), Path("/home")]
    planted = []
    for root in roots:
        folder = root / f"autoresearch-{token}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            planted.append(folder)
            for name in ("identity.key", "canary", "val.bin", ".netrc"):
                (folder / name).write_text(token)
    for number in range(4):
        monkeypatch.setenv(f"SECRET_{number}", token)
    yield token
    for folder in planted:
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["attack_read_secrets", "attack_read_proc", "attack_environment"])
def test_no_secret_is_read(name, level, canaries):
    read, write = os.pipe()
    os.set_inheritable(read, True)
    os.write(write, canaries.encode())
    with open(ZOO / f"{name}.py") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        done = attack(name, level=level)
    os.close(read)
    os.close(write)
    assert done.status == 1, done.text
    assert "OBTAINED" not in done.text
    assert canaries not in done.text
    assert str(Path.home() / ".ssh") not in done.text


def test_nothing_is_reached_over_any_network(filtered):
    name = f"listener-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + name)
        abstract.listen()
        env = {"ATTACK_PORTS": str(tcp.getsockname()[1]), "ATTACK_ABSTRACT": name}
        done = attack("attack_network", level=filtered, env=env, seconds=40)
        for listener in (tcp, udp, abstract):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.recv(1) if listener is udp else listener.accept()
    obtained = [line for line in done.text.splitlines() if line.startswith("OBTAINED")]
    # Without the filter, sockets can be made, but they lead nowhere: UDP sends into an empty namespace.
    harmless = {"udp", "netlink", "icmp"} if "seccomp" not in filtered.features else set()
    assert [line for line in obtained if line.split()[1] not in harmless] == [], done.text


def test_sockets_of_services_are_out_of_reach(filtered):
    path = Path("/tmp") / f"agent-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o777)
        try:
            done = attack("attack_sockets", level=filtered, env={"ATTACK_SOCKET": str(path)})
        finally:
            path.unlink()
    assert str(path) in done.text
    assert "OBTAINED" not in done.text


def test_kernel_gives_nothing(filtered):
    done = attack("attack_kernel", level=filtered)
    obtained = [line for line in done.text.splitlines() if line.startswith("OBTAINED")]
    if "seccomp" not in filtered.features:
        allowed = ("ptrace", "userfaultfd", "keyctl", "add_key", "perf_event_open", "io_uring_setup", "unshare",
                   "a user namespace", "fsopen")
        obtained = [line for line in obtained if line.removeprefix("OBTAINED ") not in allowed]
    assert obtained == [], done.text


@pytest.mark.parametrize("name", ["attack_ptrace", "attack_interpreter"])
def test_other_processes_and_programs_are_out_of_reach(name, filtered):
    done = attack(name, level=filtered)
    assert done.status in (1, 137), done.text
    assert "OBTAINED" not in done.text


def test_nothing_is_kept_for_the_next_run(level, tmp_path):
    first = attack("attack_persist", level=level, out=tmp_path / "first")
    assert "left a note in /scratch" in first.text
    assert "OBTAINED" not in attack("attack_persist", level=level, out=tmp_path / "second").text


@pytest.mark.parametrize("name", ["attack_fork_bomb", "attack_thread_bomb"])
def test_bombs_leave_the_host_answering(name, level):
    slowest_s, over = 0.0, threading.Event()

    def answer() -> None:
        nonlocal slowest_s
        while not over.is_set():
            before = time.monotonic()
            os.stat(ZOO)
            time.sleep(0.01)
            slowest_s = max(slowest_s, time.monotonic() - before)

    watcher = threading.Thread(target=answer)
    watcher.start()
    done = attack(name, level=level)
    over.set()
    watcher.join()
    assert done.broken is not None
    assert "processes and threads" in done.broken
    assert done.survivors == []
    assert slowest_s < HOST_ANSWERS_S * BUSY_MACHINE


@pytest.mark.parametrize("kind", ["private", "shared", "memfd", "tmpfs"])
def test_memory_has_an_end(kind, level):
    done = attack("attack_memory", level=level, env={"ATTACK_KIND": kind})
    ended = done.broken is not None or done.status not in (None, 0)
    assert ended, done.text
    held = max(map(int, re.findall(r"holding (\d+)", done.text)), default=0)
    polled = "cgroup" not in level.features
    assert held <= (4 if polled else 1) * SMALL.memory_bytes // MIB + 64
    assert done.survivors == []


def test_memory_of_many_children_is_added_up(level):
    done = attack("attack_memory_in_children", level=level)
    assert done.broken is not None
    assert "memory" in done.broken or "processes" in done.broken
    assert done.survivors == []


@pytest.mark.parametrize("name", ["attack_disk", "attack_inodes", "attack_deep_folders"])
def test_disk_has_an_end(name, level, tmp_path):
    out = tmp_path / "out"
    done = attack(name, level=level, out=out)
    assert done.broken is not None or done.status not in (None, 0), done.text
    on_disk = sum(path.lstat().st_blocks * 512 for path in out.iterdir())
    remove_tree(out)
    assert on_disk < 16 * SMALL.out_bytes
    assert done.survivors == []


def test_daemons_die_with_their_run(level):
    done = attack("attack_daemon", level=level)
    assert "daemons started" in done.text
    assert done.survivors == []


def test_deaf_and_noisy_scripts_die_too(level):
    done = attack("attack_deaf", level=level, seconds=1.0)
    assert len(done.text) < 2 * SMALL.stdout_bytes
    assert done.survivors == []


def test_hidden_processor_time_is_counted(level):
    done = attack("attack_hide_cpu", level=level, seconds=30)
    assert done.text.startswith("burnt")
    assert done.cpu_s > (1.2 if "cgroup" in level.features else 0.5)


OTHERS = [name for name, one in creatures("attack").items() if f"attack_{name}" not in TRIED_ABOVE]


@pytest.mark.parametrize("name", OTHERS)
def test_an_attack_obtains_nothing(name, level, canaries, tmp_path):
    one = creatures("attack")[name]
    limits = replace(SMALL, out_files=64)
    seconds = 1.0 if one.seconds else 30.0
    done = attack(f"attack_{name}", level=level, limits=limits, out=tmp_path / "out", seconds=seconds)
    obtained = [line for line in done.text.splitlines() if line.startswith("OBTAINED")]
    if "seccomp" not in level.features:
        obtained = [line for line in obtained if not any(words in line for words in one.without_filter)]
    assert obtained == [], done.text
    assert canaries not in done.text
    assert "Traceback" not in done.text, done.text
    assert "the attack is over" in done.text or done.broken or done.status is None or done.status > 100, done.text
    assert done.survivors == []
    remove_tree(tmp_path / "out")
