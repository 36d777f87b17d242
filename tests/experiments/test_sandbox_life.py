"""Ends that nobody planned: the node is killed, the caller's thread ends, the owner is no root."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ordinary_user import as_user
from sandbox_trial import SMALL, ZOO, marked

from experiments.sandbox import cgroup, detect, interpreter, reap_orphans, start
from experiments.sandbox.detect import without_bubblewrap

LEVEL = detect()
pytestmark = pytest.mark.skipif(LEVEL.name == "none", reason="no isolation to be had on this machine")
LEVELS = {"bubblewrap": LEVEL, "no bubblewrap": without_bubblewrap(LEVEL)}
NODE = """
import sys, time
from pathlib import Path
from experiments.sandbox import Limits, Mount, detect, interpreter, start
from experiments.sandbox.detect import without_bubblewrap
level = without_bubblewrap(detect()) if "no bubblewrap" in sys.argv[4] else detect()
mount = Mount(Path(sys.argv[1]), "/job/train.py")
running = start([interpreter(), "/job/train.py"], level=level, limits=Limits(), mounts=[mount],
                env={"SANDBOX_TRIAL": sys.argv[2]})
print("started", flush=True)
if sys.argv[3] == "frozen":
    time.sleep(0.5)
    running.freeze()
    print("frozen", flush=True)
time.sleep(600)
"""


def _until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("state", ["running", "frozen"])
@pytest.mark.parametrize("name", LEVELS)
def test_kill_9_of_the_node_leaves_no_orphan(state, name):
    token = f"node-{os.getpid()}-{time.monotonic_ns()}"
    command = [sys.executable, "-c", NODE, str(ZOO / "attack_deaf.py"), token, state, name]
    node = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        for _ in range(1 if state == "running" else 2):
            assert node.stdout.readline()
        _until(lambda: len(marked(token)) >= 2)
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()
    if state == "frozen":
        reap_orphans()  # what a next start does: a frozen process can't die before it is thawed
    _until(lambda: not marked(token))
    reap_orphans()
    left = [path for place in cgroup.hierarchies() for path in place.folder.glob(f"{cgroup.PREFIX}{node.pid}-*")]
    assert left == []


def test_a_live_node_is_not_swept():
    with start([interpreter(), "-c", "import time; time.sleep(60)"], level=LEVEL, limits=SMALL) as running:
        assert running.wait(0.2) is None
        reap_orphans()
        assert running.wait(0.2) is None


def test_outlives_the_thread_that_asked_for_it():
    started = []
    argv = [interpreter(), "-c", "import time; time.sleep(60)"]
    asking = threading.Thread(target=lambda: started.append(start(argv, level=LEVEL, limits=SMALL)))
    asking.start()
    asking.join()
    with started[0] as running:
        assert running.wait(0.5) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="already an ordinary user")
@pytest.mark.skipif(not (shutil.which("bwrap") and shutil.which("setpriv")), reason="no way to become one here")
def test_holds_for_an_ordinary_user_without_control_groups():
    """Runs the other files of these tests again as a user who has nothing but user namespaces."""
    here = Path(__file__).parent
    below = ("test_nothing_of_the_host_is_read_changed_or_reached", "test_bombs_and_daemons_have_an_end",
             "test_kill_9_of_the_node_ends_the_tree_without_a_process_table_of_its_own")
    names = ("test_sandbox.py", "test_sandbox_attacks.py", *(f"test_sandbox_levels.py::{name}" for name in below))
    pytest_run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs",
                  *(str(here / name) for name in names)]
    done = subprocess.run(as_user(pytest_run), capture_output=True, text=True, timeout=580,
                          env={**os.environ, "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "no isolation to be had" not in done.stdout
