"""Starts a command in a sandbox of a given level.

The order matters: the first process inside waits at a gate until it is in its control group; meanwhile all the rest is
set up, as the kernel takes milliseconds to move a process. All sandboxes are spawned by one thread that lives as long
as the node, because the kernel ties "die with the parent" to the thread that spawned. Rejected: `preexec_fn`, unsafe in
a process with threads.
"""

import contextlib
import errno
import marshal
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ensue.errors import ExperimentError, SandboxUnavailable
from experiments.sandbox import bubblewrap, cgroup, landlock, namespaces, seccomp, tree
from experiments.sandbox.bounds import Level, Limits, Mount
from experiments.sandbox.devices import devices, driver, folders, minor
from experiments.sandbox.gpumemory import Card
from experiments.sandbox.launch import LAUNCHER, SAME_USER, WARM_NAME
from experiments.sandbox.output import Output
from experiments.sandbox.place import Place
from experiments.sandbox.sandboxed import Sandboxed
from experiments.sandbox.visible import View, interpreter, view

CACHES = "/scratch/.cache"
BASE_ENV = {
    "HOME": "/scratch", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "sandbox",
    "LOGNAME": "sandbox", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1",
    # What compilers of kernels keep is the run's own and goes with it.
    "XDG_CACHE_HOME": f"{CACHES}", "TRITON_CACHE_DIR": f"{CACHES}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHES}/inductor", "CUDA_CACHE_PATH": f"{CACHES}/cuda",
}
WARM_INSIDE = "/warm"
UID_FIRST = 0x60000000  # far from every uid that a distribution or a container runtime hands out
UID_COUNT = 0x10000000
NPROC_PER_NAMESPACE = (5, 14)  # the kernel that began to count processes per user namespace

SET_UP_S, SET_UP_LOOK_S = 30.0, 0.0005
STACK_BYTES = 8 << 20  # set aside for each thread, seldom touched

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-spawner")


def start(
    argv: Sequence[str],
    *,
    level: Level,
    limits: Limits,
    mounts: Sequence[Mount] = (),
    out: Path | None = None,
    env: Mapping[str, str] | None = None,
    fds: Sequence[int] = (),
    device: str = "cpu",
    cwd: str = "/scratch",
    hide: Sequence[Path] = (),
    warm_cache: Path | None = None,
) -> Sandboxed:
    """Starts `argv` in isolation and returns it running.

    `out` is a folder of the host, writable as /out. `fds` are inherited under the same numbers, nothing else is. `env`
    is all of the environment but for a few harmless basics. `hide` names host folders that must stay unseen even where
    they lie beneath the interpreter's. `warm_cache` is a folder whose files the script finds in its own cache folders,
    but cannot change: it must come from somebody whom the node trusts. SandboxUnavailable if the machine refuses.
    """
    if warm_cache is not None:
        mounts = [*mounts, Mount(warm_cache, WARM_INSIDE)]
        env = {**(env or {}), WARM_NAME: WARM_INSIDE}
    for mount in mounts:
        _check_readable(mount.host)
    libraries, found_by = driver(device)
    mounts = [*mounts, *libraries, *(Mount(Path(folder), folder) for folder in folders(device))]
    uid = _fresh_uid() if "root" in level.features else None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if uid is not None:
            os.chown(out, uid, uid)
    bounds = _rlimits(level, limits, device)
    # Memory without a process goes uncounted where there is no control group, but a GPU's driver can't do without.
    hoards = "cgroup" in level.features or device != "cpu"
    scoped = "scoped" in level.features
    calls = (seccomp.program(hoards=hoards, shared=level.name == "landlock", signals=scoped)
             if "seccomp" in level.features else None)
    environment = {**BASE_ENV, **found_by, **(env or {})}
    card = _card(device, limits)
    wanted = _Wanted(list(argv), level, limits, mounts, out, environment, list(fds), cwd, uid, bounds, calls, card)
    if level.name == "landlock":
        return _confined(wanted, view(hide), devices(device))
    launcher = [interpreter(), "-I", "-S", LAUNCHER, SAME_USER if uid is None else str(uid), cwd,
                ",".join(map(str, fds)), ",".join(f"{name}={bound}" for name, bound in bounds.items()), *argv]
    if level.name == "namespaces":
        plan = namespaces.plan(level, limits, view(hide), mounts, out, devices(device), calls, fds)
        with _in_memory(marshal.dumps(plan)) as plan_fds:
            return _spawned(wanted, [*namespaces.program(), *map(str, plan_fds), *launcher], plan_fds)
    if level.name != "bubblewrap":
        raise SandboxUnavailable("No isolation that may be used here; install bubblewrap (`apt install bubblewrap`).")
    with _in_memory(calls) as filter_fds:
        shown = bubblewrap.arguments(level, limits, view(hide), mounts, out, devices(device), *filter_fds)
        return _spawned(wanted, [*shown, *launcher], filter_fds)


@dataclass(slots=True)
class _Wanted:
    """What one start is about."""

    argv: list[str]
    level: Level
    limits: Limits
    mounts: Sequence[Mount]
    out: Path | None
    env: dict[str, str]
    fds: list[int]
    cwd: str
    uid: int | None
    bounds: dict[str, int]
    calls: bytes | None
    card: Card | None
    place: Place | None = None


def _confined(wanted: _Wanted, shown: View, device_files: Sequence[str]) -> Sandboxed:
    """Starts a script among the host's own files, held by Landlock."""
    if wanted.calls is None:
        raise SandboxUnavailable("Landlock alone leaves sockets open, and this processor has no system call filter.")
    scoped = "scoped" in wanted.level.features
    version = landlock.abi() if scoped else min(landlock.abi(), landlock.ABI_SCOPES - 1)
    search = "search" in wanted.level.features
    with contextlib.ExitStack() as held:
        out, out_fds = wanted.out, list[int]()
        if out is not None and wanted.uid is not None and not search:
            # Through a descriptor, the script's user needs no right to enter the folders above.
            out_fds = [os.open(out, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
            held.callback(os.close, *out_fds)
            out = Path(f"/proc/self/fd/{out_fds[0]}")
        place = wanted.place = Place(
            wanted.mounts, out and out.absolute(), wanted.uid, [*shown.folders, *shown.files]
        )
        try:
            writable = [*place.writable, *([] if out is None else [out])]
            plan = {
                "parent": os.getpid(), "uid": wanted.uid, "search": search, "cwd": place.translated([wanted.cwd])[0],
                "fds": [*wanted.fds, *out_fds], "limits": wanted.bounds, "seccomp": wanted.calls,
                "landlock": landlock.plan(version, landlock.rules(shown, place.shown, writable, device_files)),
            }
            wanted.env = place.environment(wanted.env)
            (plan_fd,) = held.enter_context(_in_memory(marshal.dumps(plan)))
            program = [interpreter(), "-I", "-S", str(Path(__file__).resolve().with_name("confine.py")), str(plan_fd)]
            return _spawned(wanted, [*program, *place.translated(wanted.argv)], [*out_fds, plan_fd])
        except BaseException:
            place.remove()
            raise


def _spawned(wanted: _Wanted, command: list[str], further_fds: Sequence[int]) -> Sandboxed:
    return _spawner.submit(_spawn, wanted, command, [*wanted.fds, *further_fds]).result()


@contextlib.contextmanager
def _in_memory(content: bytes | None) -> Iterator[list[int]]:
    """Gives a descriptor to read `content` from; none if there is no content."""
    if content is None:
        yield []
        return
    fd = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield [fd]
    finally:
        os.close(fd)


def _spawn(wanted: _Wanted, command: list[str], fds: list[int]) -> Sandboxed:
    group = cgroup.Group(cgroup.hierarchies(), wanted.limits) if "cgroup" in wanted.level.features else None
    gate_read, gate_write = os.pipe()
    output_read, output_write = os.pipe()
    try:
        process = subprocess.Popen(
            command, stdin=gate_read, stdout=output_write, stderr=output_write,
            env=wanted.env, cwd="/", pass_fds=fds, start_new_session=True)
    except OSError as error:
        os.close(output_read)
        os.close(gate_write)
        if group:
            group.remove()
        raise SandboxUnavailable(f"A sandbox could not be started: {error.strerror}.") from error
    finally:
        os.close(gate_read)
        os.close(output_write)
    output = Output(output_read, wanted.limits.stdout_bytes)
    sandboxed = Sandboxed(process, output, wanted.limits, group, wanted.out, wanted.place, wanted.uid,
                          wanted.card)
    try:
        if group:
            _put_in(group, process, inner=wanted.place is None)
        os.write(gate_write, b"\n")
    except OSError as error:
        sandboxed.close()
        raise SandboxUnavailable(f"A sandbox could not be put under its limits: {error.strerror}.") from error
    finally:
        os.close(gate_write)
    return sandboxed


def _put_in(group: cgroup.Group, process: "subprocess.Popen[bytes]", inner: bool) -> None:
    """Moves the process at the gate into the group: the outermost one's first child where it is `inner`.

    Does nothing if the set-up has failed and there is none. OSError if the machine refuses.
    """
    deadline = time.monotonic() + SET_UP_S
    while inner and process.poll() is None and time.monotonic() < deadline:
        if children := tree.children(process.pid):
            group.add(children[0])
            return
        time.sleep(SET_UP_LOOK_S)
    if not inner:
        group.add(process.pid)
    elif process.poll() is None:
        raise TimeoutError(errno.ETIMEDOUT, f"its set-up takes longer than {SET_UP_S:g} s")


def _rlimits(level: Level, limits: Limits, device: str) -> dict[str, int]:
    processes = limits.processes
    shares_user = level.name == "landlock" or _kernel() < NPROC_PER_NAMESPACE
    if "root" not in level.features and shares_user:
        processes += sum(one.threads for one in tree.everyone())
    elif "root" not in level.features:
        # The launcher has the same user, and `enter`, unlike bubblewrap, waits inside the user namespace.
        processes += 2 if level.name == "namespaces" else 1
    bounds = {
        "RLIMIT_NPROC": processes, "RLIMIT_NOFILE": limits.open_files, "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": max(limits.out_bytes, limits.scratch_bytes, limits.shm_bytes),
    }
    if "cgroup" not in level.features and device == "cpu":  # a GPU's driver maps far more than it uses
        bounds["RLIMIT_DATA"] = limits.memory_bytes + limits.processes * STACK_BYTES
    return bounds


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def _fresh_uid() -> int:
    """A user id that nobody has, from the ids that exist here: a container may have few."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(word) for word in line.split())
        if first <= UID_FIRST and first + count >= UID_FIRST + UID_COUNT:
            return UID_FIRST + secrets.randbelow(UID_COUNT)
        if count > 60_000:
            return first + 50_000 + secrets.randbelow(10_000)
    raise SandboxUnavailable("This container has too few user ids to run a script as nobody; map at least 65536.")


def _card(device: str, limits: Limits) -> Card | None:
    """The card whose memory is to be watched, if it is."""
    if not device.startswith("cuda") or limits.gpu_memory_bytes is None:
        return None
    try:
        return Card(minor(device))
    except OSError as error:
        raise SandboxUnavailable(f"The memory of {device} cannot be bounded: {error}.") from error


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise ExperimentError(f"{path} cannot be shown to a script because it does not exist.")
    if not path.stat().st_mode & 0o004:
        raise ExperimentError(f"{path} cannot be shown to a script; let others read it: chmod o+r {path}.")
