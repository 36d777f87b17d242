"""Each level below bubblewrap for real: what takes over when one is missing, what it holds, and when nothing will do.

Namespaces are forbidden as container runtimes forbid them, by a filter on the whole process; bubblewrap is hidden by an
empty PATH. An ordinary user is one inside a bubblewrap of the test's own: else the interpreter may be unreadable.
"""

import importlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ordinary_user import as_user
from sandbox_trial import MIB, SMALL, ZOO, attack, distinct, marked, snippet

from ensue.errors import SandboxUnavailable
from experiments.sandbox import Level, Limits, Mount, interpreter, landlock, reap_orphans, sandboxed, start
from experiments.sandbox.place import PREFIX
from experiments.sandbox.visible import View

detect = importlib.import_module("experiments.sandbox.detect")  # the package has a function of this name
ROOT = Path(__file__).resolve().parents[2]
LEVEL = detect.without_namespaces(detect.detect())
LEVELS = distinct({
    "all": LEVEL, "no cgroup": detect.without(LEVEL, "cgroup"), "no scopes": detect.without(LEVEL, "scoped"),
    "neither": detect.without(LEVEL, "cgroup", "scoped"),
})
held = pytest.mark.skipif(LEVEL.name != "landlock", reason="no Landlock on this machine")

FORBID = """
import os, struct, sys
from experiments.sandbox import enter, seccomp
extra = b"".join(step for number in filter(None, sys.argv[1].split(",")) for step in seccomp._deny(int(number)))
head = 4 * 8  # after the check of the architecture and the load of the call's number
program = seccomp.program()
enter.control(enter.PR_SET_NO_NEW_PRIVS, 1)
enter.filter_calls(program[:head] + extra + program[head:])
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
TELL = """
import json
from experiments import sandbox
from node import doctor, settings
level = sandbox.detect()
checks = [[c.name, c.verdict, c.found] for c in doctor._sandbox(settings.Settings())]
refused = None
try:
    with sandbox.start([sandbox.interpreter(), "-c", "print(6 * 7)"], level=level, limits=sandbox.Limits()) as box:
        box.wait(30)
        printed = box.output().decode().strip()
except sandbox.starting.SandboxUnavailable as error:
    printed, refused = "", str(error)
print(json.dumps({"name": level.name, "label": level.label, "printed": printed, "refused": refused, "checks": checks}))
"""
LANDLOCK_CALLS = "444,445,446"


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Level:
    return LEVELS[request.param]


def told(*, path: str, forbidden: str | None, user: bool) -> dict[str, object]:
    """Returns what a node says of itself, and whether a script runs, on such a machine."""
    tail = ["-c", TELL]
    command = [sys.executable, *(tail if forbidden is None else ["-c", FORBID, forbidden, *tail])]
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    command = as_user(["env", "-i", *(f"{a}={b}" for a, b in environment.items()), *command]) if user else command
    done = subprocess.run(command, env=os.environ if user else environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ROOT_AND_USER = [
    pytest.param(False, id="as we are"),
    pytest.param(True, id="as a user", marks=pytest.mark.skipif(
        os.geteuid() != 0 or not (shutil.which("bwrap") and shutil.which("setpriv")), reason="no way to become one")),
]


@held
@pytest.mark.parametrize("user", ROOT_AND_USER)
def test_the_next_level_takes_over_and_doctor_says_so(user):
    names = []
    for path, forbidden in ((os.environ["PATH"], None), ("/nowhere", None), (os.environ["PATH"], "")):
        said = told(path=path, forbidden=forbidden, user=user)
        names.append(said["name"])
        assert said["printed"] == "42"
        assert str(said["label"]).startswith(str(said["name"]))
        (name, verdict, found), (limits, _, held_by) = said["checks"]
        assert (name, limits) == ("sandbox", "limits")
        assert found.startswith(f"{said['name']} ({said['label']}); ")
        assert verdict == ("ok" if said["name"] == "bubblewrap" else "warn")
        assert ("control groups" in held_by) == ("cgroup" in str(said["label"]))
    assert names[1:] == ["namespaces", "landlock"]
    assert names[0] == ("bubblewrap" if shutil.which("bwrap") else "namespaces")
    assert "looking" in held_by  # the disk, at this level
    assert ("it runs as you" in found) == (user or os.geteuid() != 0)


@held
@pytest.mark.parametrize("user", ROOT_AND_USER)
def test_where_nothing_holds_a_script_none_is_run(user):
    said = told(path=os.environ["PATH"], forbidden=LANDLOCK_CALLS, user=user)
    assert (said["name"], said["printed"]) == ("none", "")
    assert "install bubblewrap" in str(said["refused"])
    (check,) = said["checks"]
    assert check[:2] == ["sandbox", "fail"]


@held
def test_landlock_without_a_filter_is_no_level(level):
    with pytest.raises(SandboxUnavailable, match="sockets"):
        snippet("", level=detect.without(level, "seccomp"))
    assert list(detect._landlock(frozenset({"cgroup"}))) == []


def test_rules_leave_out_what_is_hidden(tmp_path):
    for name in ("shown", "kept/secret", "kept/open"):
        (tmp_path / name).mkdir(parents=True)
    shown = View((tmp_path,), (), (), (tmp_path / "kept" / "secret",))
    rules = dict(landlock.rules(shown, [], [], ["/dev/null", "/dev/nvidia7"]))
    assert rules[str(tmp_path)] == rules[str(tmp_path / "kept")] == landlock.READ_DIR  # names, no contents
    assert rules[str(tmp_path / "kept" / "open")] == rules[str(tmp_path / "shown")] == landlock.READ
    assert str(tmp_path / "kept" / "secret") not in rules
    assert rules["/dev/null"] == landlock.GPU & landlock.OF_FILES
    assert "/dev/nvidia7" not in rules  # there is none


@pytest.mark.parametrize(("abi", "files", "network", "scopes"), [
    (3, landlock.TRUNCATE, 0, 0), (4, landlock.TRUNCATE, 3, 0), (5, landlock.IOCTL_DEV, 3, 0),
    (7, landlock.IOCTL_DEV, 3, 3)])
def test_older_kernels_are_asked_for_what_they_know(abi, files, network, scopes):
    handled = landlock.handled(abi)
    assert handled == (2 * files - 1, network, scopes)
    plan = landlock.plan(abi, [("/dev/null", landlock.GPU)])
    assert plan["rules"] == [("/dev/null", landlock.GPU & handled[0])]


@held
def test_the_zoo_obtains_nothing(level):
    """All attacks that end by themselves and need nothing planted; what each may say is said by its own test."""
    names = ("read_secrets", "read_proc", "interpreter", "kernel", "ptrace", "persist", "network", "sockets")
    for name in names:
        done = attack(f"attack_{name}", level=level, seconds=20)
        assert done.status not in (0, None), (name, done.text)
        assert "OBTAINED" not in done.text, (name, done.text)
        assert done.survivors == [], name


@held
@pytest.mark.parametrize("name", ["fork_bomb", "thread_bomb", "memory", "memory_in_children", "daemon"])
def test_bombs_and_daemons_have_an_end(name, level):
    done = attack(f"attack_{name}", level=level, seconds=10)
    assert (done.broken is not None) == (name != "daemon") or done.status == 137, done
    assert done.survivors == []


@held
def test_a_script_lives_in_its_own_folders(level, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "train.py").write_text("""
import os, sys, tempfile
root = os.environ["SANDBOX_ROOT"]
print(os.getcwd() == root + "/scratch", os.environ["HOME"] == os.getcwd(), tempfile.gettempdir() == root + "/tmp")
open(root + "/out/model", "wb").write(b"w" * 1000)
print(os.listdir(root + "/job"), os.path.dirname(__file__) == root + "/job")
for action in (lambda: open(root + "/job/new", "w"), lambda: os.unlink(__file__), lambda: open(__file__, "a"),
               lambda: os.mkdir(root + "/more"), lambda: open("/tmp/note", "w")):
    try:
        action()
        print("OBTAINED")
    except OSError:
        pass
""")
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    mount = Mount(tmp_path / "job", "/job")
    with start([interpreter(), "/job/train.py"], level=level, limits=SMALL, mounts=[mount], out=out) as running:
        assert running.wait(20) == 0, running.output()
        assert running.output() == b"True True True\n['train.py'] True\n"
    assert (out / "model").read_bytes() == b"w" * 1000
    assert out.stat().st_uid == os.geteuid()


HARM = """
import ctypes, os, resource, signal, socket, sys
victim, secret, listener = int(sys.argv[1]), sys.argv[2], sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
def attempt(words, action):
    try:
        print("OBTAINED", words, action())
    except OSError as error:
        print("refused", words, error)
    except ValueError as error:
        print("refused", words, error)
attempt("a read", lambda: open(secret).read())
attempt("a list", lambda: os.listdir(os.path.dirname(secret)))
attempt("a mode", lambda: os.chmod(secret, 0o777))
attempt("an owner", lambda: os.chown(secret, os.getuid(), -1))
attempt("a time", lambda: os.utime(secret))
attempt("a truncation", lambda: os.truncate(secret, 0))
attempt("an attribute", lambda: os.setxattr(secret, "user.note", b"x"))
attempt("a link", lambda: os.link(secret, "stolen"))
attempt("a name", lambda: os.rename(secret, "stolen"))
attempt("an end", lambda: os.unlink(secret))
attempt("a signal", lambda: os.kill(victim, signal.SIGTERM))
attempt("a signal to its keeper", lambda: os.kill(os.getppid(), signal.SIGTERM))
attempt("a limit", lambda: resource.prlimit(victim, resource.RLIMIT_NOFILE))
attempt("a priority", lambda: os.setpriority(os.PRIO_PROCESS, victim, 5))
attempt("a processor", lambda: os.sched_setaffinity(victim, {0}))
attempt("an environment", lambda: open(f"/proc/{victim}/environ").read())
attempt("a descriptor", lambda: os.listdir(f"/proc/{victim}/fd"))
attempt("a socket", lambda: socket.socket(socket.AF_UNIX).connect(listener))
def turned():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(listener)
    return one.send(b"stolen")
attempt("a turned socket", turned)
one, other = socket.socketpair()
attempt("a turned stream", lambda: one.connect(listener))
other.send(b"mine"); print(one.recv(9))
def owned():
    import fcntl
    read, write = os.pipe()
    return fcntl.fcntl(read, fcntl.F_SETOWN, victim)
attempt("a signal by proxy", owned)
if libc.shmget(0, 4096, 0o1600) >= 0 or libc.semget(0, 1, 0o1600) >= 0 or libc.msgget(0, 0o1600) >= 0:
    print("OBTAINED System V memory")
"""


@held
def test_nothing_of_the_host_is_read_changed_or_reached(level, tmp_path):
    secret, where = tmp_path / "secret", str(tmp_path / "listener")
    secret.write_text("canary")
    secret.chmod(0o666)
    tmp_path.chmod(0o777)
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(where)
            os.chmod(where, 0o777)
            listener.setblocking(False)
            script = tmp_path / "harm.py"
            script.write_text(HARM)
            argv = [interpreter(), "/job/harm.py", str(victim.pid), str(secret), where]
            with start(argv, level=level, limits=SMALL, mounts=[Mount(script, "/job/harm.py")]) as running:
                assert running.wait(30) == 0, running.output()
                text = running.output().decode()
            with pytest.raises(BlockingIOError):
                listener.recv(1)
        assert "OBTAINED" not in text, text
        assert text.count("refused") == 21, text
        assert "b'mine'" in text
        assert victim.poll() is None
        assert secret.read_text() == "canary"
        assert secret.stat().st_mode & 0o777 == 0o666
    finally:
        victim.kill()
        victim.wait()


@held
@pytest.mark.parametrize("code", [
    "while True: open(str(n), 'wb').write(b'x' * (1 << 20)); n += 1",
    "while True: open(str(n), 'wb').close(); n += 1"], ids=["bytes", "files"])
def test_scratch_space_has_an_end_and_is_given_back(code, level, monkeypatch):
    monkeypatch.setattr(sandboxed, "PLACE_FILES_MAX", 1000)
    done = snippet("import os\nos.chdir(os.environ['TMPDIR'])\nn = 0\n" + code, level=level)
    assert "scratch space" in str(done.broken)
    assert left_places() == []


def left_places() -> list[Path]:
    return list(Path("/tmp").glob(f"{PREFIX}{os.getpid()}-*"))


NODE = """
import sys, time
from experiments.sandbox import *
from experiments.sandbox import Level
level = Level("landlock", 1, (), (), frozenset(sys.argv[1].split("+")))
running = start([interpreter(), "-c", sys.argv[2]], level=level, limits=Limits(), env={"SANDBOX_TRIAL": sys.argv[3]})
print("started", flush=True)
time.sleep(600)
"""
DEAF = """
import os, signal, time
for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(one, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
time.sleep(600)
"""


@held
def test_kill_9_of_the_node_ends_the_tree_without_a_process_table_of_its_own(level):
    token = f"node-{secrets.token_hex(8)}"
    command = [sys.executable, "-c", NODE, "+".join(sorted(level.features)), DEAF, token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as node:
        try:
            assert node.stdout.readline()
            until(lambda: len(marked(token)) >= 5)  # the keeper, the script, three daemons
        finally:
            node.send_signal(signal.SIGKILL)
    until(lambda: not marked(token))
    reap_orphans()
    assert list(Path("/tmp").glob(f"{PREFIX}{node.pid}-*")) == []


@held
def test_kill_9_of_keeper_and_node_is_mended_by_the_next_start(level):
    """The keeper alone could end the tree; the next node finds what is left by its mark in the environment."""
    token = f"node-{secrets.token_hex(8)}"
    command = [sys.executable, "-c", NODE, "+".join(sorted(level.features)), DEAF, token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as node:
        assert node.stdout.readline()
        until(lambda: len(marked(token)) >= 5)
        keeper = int(Path(f"/proc/{node.pid}/task/{spawner(node.pid)}/children").read_text().split()[0])
        os.kill(keeper, signal.SIGKILL)
        node.send_signal(signal.SIGKILL)
    reap_orphans()
    until(lambda: not marked(token))


def spawner(pid: int) -> int:
    """Returns the thread that has children."""
    return next(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if (task / "children").read_text())


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@held
def test_frozen_and_thawed_and_killed(level):
    code = "import os\nos.fork()\nwhile True: sum(range(1000))"
    with start([interpreter(), "-c", code], level=level, limits=Limits(memory_bytes=512 * MIB)) as running:
        until(lambda: running.cpu_s() > 0.2)
        running.freeze()
        before = running.cpu_s()
        time.sleep(0.3)
        assert running.cpu_s() - before < 0.05
        running.thaw()
        until(lambda: running.cpu_s() > before + 0.1)
        running.freeze()  # a frozen tree dies too
    assert left_places() == []


def test_the_zoo_is_where_the_tests_look():
    assert len(list(ZOO.glob("attack_*.py"))) >= 19
