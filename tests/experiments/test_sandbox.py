"""The sandbox's own promises to its caller: what is shown, what is bounded, how it ends."""

import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_trial import MIB, SMALL, distinct, snippet

from ensue.errors import ExperimentError, SandboxUnavailable
from experiments.sandbox import Level, Limits, Mount, detect, interpreter, remove_tree, start
from experiments.sandbox.detect import candidates, without, without_bubblewrap, works
from experiments.sandbox.devices import device_inside, devices
from experiments.sandbox.visible import OUR_PACKAGES, view

LEVEL = detect()
pytestmark = pytest.mark.skipif(LEVEL.name == "none", reason="no isolation to be had on this machine")


LEVELS = distinct({
    "all": LEVEL, "no cgroup": without(LEVEL, "cgroup"), "no filter": without(LEVEL, "seccomp"),
    "no bubblewrap": without_bubblewrap(LEVEL),
    "no bubblewrap, no cgroup": without_bubblewrap(without(LEVEL, "cgroup")),
})


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Level:
    return LEVELS[request.param]


def test_level_says_what_it_stops_and_what_it_does_not():
    assert LEVEL.stops
    assert LEVEL.gaps
    assert LEVEL.label.startswith(LEVEL.name)
    assert len(without(LEVEL, "cgroup", "seccomp").gaps) > len(LEVEL.gaps) or not LEVEL.features & {"cgroup", "seccomp"}


def test_prints_and_ends_with_its_status(level):
    done = snippet("import sys; print('hello'); sys.exit(7)", level=level)
    assert (done.status, done.text, done.broken, done.survivors) == (7, "hello\n", None, [])


def test_is_nobody_in_an_empty_place(level):
    code = "import os; print(os.getuid() != 0, os.getcwd(), os.listdir('.'), sorted(os.listdir('/')))"
    text = snippet(code, level=level).text
    assert text.startswith("True /scratch []")
    assert "'home'" not in text


def test_environment_is_only_what_was_given(level, monkeypatch):
    monkeypatch.setenv("PLANTED_SECRET", "canary-env")
    done = snippet("import os; print(dict(os.environ))", level=level, env={"OMP_NUM_THREADS": "2"})
    assert "'OMP_NUM_THREADS': '2'" in done.text
    assert "canary" not in done.text
    assert str(Path.cwd()) not in done.text


def test_only_named_descriptors_are_inherited(level):
    read, write = os.pipe()
    other, _ = os.pipe()
    for fd in (write, other):
        os.set_inheritable(fd, True)
    done = snippet(f"import os; os.write({write}, b'x'); print(os.listdir('/proc/self/fd'))", level=level, fds=[write])
    assert os.read(read, 1) == b"x"
    assert done.text.count("'") // 2 == 5, done.text  # 0 1 2, ours, and the listing itself
    for fd in (read, write, other, _):
        os.close(fd)


def test_mounts_are_shown_read_only(level, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "train.py").write_text("answer = 42\n")
    code = """
import os
print(open("/job/sub/train.py").read())
path = "/job/sub/train.py"
for action in (lambda: open(path, "a"), lambda: open("/job/new", "w"), lambda: os.unlink(path)):
    try:
        action()
        print("OBTAINED")
    except OSError:
        pass
"""
    done = snippet(code, level=level, mounts=[Mount(tmp_path / "job" / "train.py", "/job/sub/train.py")])
    assert done.text == "answer = 42\n\n"


def test_mount_that_others_cannot_read_is_refused_with_the_fix(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    with pytest.raises(ExperimentError, match="chmod o\\+r"):
        snippet("", level=LEVEL, mounts=[Mount(secret, "/job/secret")])
    with pytest.raises(ExperimentError, match="does not exist"):
        snippet("", level=LEVEL, mounts=[Mount(tmp_path / "nothing", "/job/nothing")])


def test_out_comes_back_to_the_host(level, tmp_path):
    out = tmp_path / "out"
    done = snippet("open('/out/model', 'wb').write(b'w' * 1000)", level=level, out=out)
    assert done.status == 0, done.text
    assert (out / "model").read_bytes() == b"w" * 1000
    assert out.stat().st_uid == os.geteuid()
    assert stat.S_IMODE((out / "model").stat().st_mode) & 0o6000 == 0


def test_our_packages_and_the_repository_are_hidden(level):
    code = f"""
from importlib.util import find_spec
print([spec.origin for spec in map(find_spec, {OUR_PACKAGES}) if spec])
"""
    assert set(snippet(code, level=level).text.strip()) <= set("[None, ]")


def test_our_packages_are_hidden_wherever_they_are_installed():
    shown = view()
    installed = [path for folder in shown.folders if folder.name == "site-packages" for name in OUR_PACKAGES
                 if (path := folder / name).is_dir()]
    assert set(installed) <= set(shown.hidden)


def test_further_folders_can_be_hidden_under_each_name(tmp_path, monkeypatch):
    real, link = tmp_path / "python-3", tmp_path / "python"
    (real / "share" / "data").mkdir(parents=True)
    link.symlink_to(real)
    monkeypatch.setattr(sys, "base_prefix", str(link))
    hidden = view([link / "share" / "data", tmp_path, tmp_path / "nothing"]).hidden
    assert {real / "share" / "data", link / "share" / "data"} <= set(hidden)
    assert tmp_path not in hidden  # it isn't shown as a whole


def test_what_people_put_below_usr_is_hidden():
    hidden = {str(path) for path in view().hidden}
    there = [path for path in ("/usr/etc", "/usr/local/etc", "/usr/src", "/usr/local/src") if Path(path).is_dir()]
    assert set(there) <= hidden


def test_a_hidden_folder_is_empty_inside(level):
    shown = Path(sys.base_prefix).resolve()
    secret = next(path for path in sorted((shown / "lib").iterdir()) if path.is_dir() and path.name != "python3"
                  and not str(os.__file__).startswith(str(path)))
    code = f"import os; print(os.listdir({str(secret)!r}), len(os.listdir({str(secret.parent)!r})) > 0)"
    with start([interpreter(), "-c", code], level=level, limits=SMALL, hide=[secret]) as running:
        assert running.wait(20) == 0
        assert running.output() == b"[] True\n"


def test_output_keeps_head_and_tail(level):
    code = "import sys\nprint('first')\nfor _ in range(200): sys.stdout.write('x' * 65536)\nprint('\\nlast')"
    text = snippet(code, level=level).text
    assert text.startswith("first\n")
    assert text.endswith("\nlast\n")
    assert "bytes left out" in text
    assert len(text) < SMALL.stdout_bytes + 100


def test_processor_seconds_count_the_whole_tree(level):
    code = """
import os, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: sum(range(1000))
if os.fork() == 0:
    burn(0.4); os._exit(0)
burn(0.4); os.wait(); time.sleep(0.3)
"""
    assert 0.75 < snippet(code, level=level).cpu_s < 1.3


def test_frozen_tree_uses_no_time_and_goes_on(level):
    code = "import os, time\nos.fork()\nwhile True: sum(range(1000))"
    with start([interpreter(), "-c", code], level=level, limits=SMALL) as running:
        _until(lambda: running.cpu_s() > 0.2)
        running.freeze()
        before = running.cpu_s()
        time.sleep(0.3)
        assert running.cpu_s() - before < 0.05
        running.thaw()
        _until(lambda: running.cpu_s() > before + 0.2)
        running.freeze()  # a frozen tree dies too


def test_kill_and_close_may_be_repeated(level):
    running = start([interpreter(), "-c", "import time; time.sleep(60)"], level=level, limits=SMALL)
    assert running.wait(0.05) is None
    assert running.poll() is None
    running.kill()
    running.kill()
    assert running.poll() is not None
    running.close()
    running.close()
    assert running.check() is None


def test_memory_is_measured(level):
    code = "import time; held = b'x' * (100 << 20); open('/scratch/f', 'wb').write(b'y' * (20 << 20)); time.sleep(60)"
    with start([interpreter(), "-c", code], level=level, limits=SMALL) as running:
        _until(lambda: running.memory_bytes() > 110 * MIB)
        assert running.memory_bytes() < 200 * MIB


def test_starts_quickly():
    """Measured against an interpreter's own start, in turns: other work on the machine slows both alike."""

    def sandbox() -> None:
        with start(["/bin/true"], level=LEVEL, limits=SMALL) as running:
            assert running.wait(10) == 0

    def python() -> None:
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)

    def seconds(action) -> float:
        before = time.monotonic()
        action()
        return time.monotonic() - before

    pairs = [(seconds(sandbox), seconds(python)) for _ in range(7)]
    assert min(pair[0] for pair in pairs) < 0.05 + 8 * min(pair[1] for pair in pairs), pairs


def test_level_none_starts_nothing():
    nothing = Level("none", 0, (), ())
    with pytest.raises(SandboxUnavailable, match="bubblewrap"):
        start(["/bin/true"], level=nothing, limits=Limits())


def test_folders_of_any_depth_are_removed(tmp_path):
    folder, outside = tmp_path / "out", tmp_path / "outside"
    outside.write_text("kept")
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "closed").mkdir(mode=0)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    remove_tree(folder)
    remove_tree(folder)
    assert not folder.exists()
    assert outside.read_text() == "kept"


def test_devices_are_an_allow_list():
    assert devices("cpu") == ()
    assert device_inside("cuda:3") == "cuda:0"
    with pytest.raises(SandboxUnavailable, match="number 99"):
        devices("cuda:99")


def _until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_candidates_get_weaker_and_the_first_that_works_is_taken():
    levels = list(candidates())
    assert [level.strength for level in levels] == sorted((level.strength for level in levels), reverse=True)
    assert next(level for level in levels if works(level)) == LEVEL
    assert not works(replace(LEVEL, name="bubblewrap", program="/nonexistent/bwrap"))
