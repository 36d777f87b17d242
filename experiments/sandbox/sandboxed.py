"""A running sandbox: its exit, what it uses, what it broke, and how it ends.

The supervisor polls `cpu_s` and `check` some ten times a second and kills. Leaves out the clock of an experiment.
Rejected: a watchdog thread that kills on its own, so that the reason of a death would have two owners.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from ensue.errors import ExperimentError
from experiments.sandbox import tree
from experiments.sandbox.bounds import MIB, Limits
from experiments.sandbox.cgroup import Group
from experiments.sandbox.gpumemory import Card
from experiments.sandbox.launch import LAUNCHER
from experiments.sandbox.output import Output
from experiments.sandbox.place import Place

GONE_S = 10.0  # for a killed tree to vanish
REAPED_S = 30.0  # for the outermost process to end hundreds of others on a machine that is busy with other things
SCRATCH_FILES_MAX = 200_000
PLACE_FILES_MAX = 20_000  # on the disk, where looking at them takes longer than asking for their number
STOP_PASSES = 5
LAUNCHERS = 1  # besides the outermost process


class Sandboxed:
    """One process tree in isolation. Close it: that kills what is left and frees its control group."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Output, limits: Limits, group: Group | None,
                 out: Path | None, place: Place | None = None, uid: int | None = None,
                 card: Card | None = None) -> None:
        self.pid = process.pid  # of the outermost process, on the host
        self._process = process
        self._output = output
        self._limits = limits
        self._group = group
        self._out = out
        self._place = place  # only where the script has no process table of its own: the outermost process ends it all
        self._card = card
        self._uid = uid if place else None  # nobody else's
        self._cpu_s = 0.0
        self._seen: dict[tuple[int, int], float] = {}
        self._gone_cpu_s = 0.0
        self._closed = False

    def __enter__(self) -> "Sandboxed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def poll(self) -> int | None:
        """Returns the exit status, None while it runs: 128 + n or -n after signal n."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Returns the exit status as soon as there is one, None when `timeout_s` passed before."""
        if self._process.poll() is None:
            # A process descriptor tells at once; the standard library would look again and again.
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(self.pid)
                try:
                    ended = select.poll()
                    ended.register(fd, select.POLLIN)
                    ended.poll(max(0.0, timeout_s) * 1000)
                finally:
                    os.close(fd)
        return self._process.poll()

    def cpu_s(self) -> float:
        """Returns the processor seconds that the whole tree has used, ended processes included; never decreases.

        Without a control group it is summed over /proc: a process that nobody waits for counts up to the last call.
        """
        counted = self._group.cpu_s() if self._group else None
        if counted is None:
            counted = self._summed_cpu_s()
        self._cpu_s = max(self._cpu_s, counted)
        return self._cpu_s

    def _all(self) -> list[tree.Process]:
        """Every process of the tree: the control group's, where there is one, spares a look at the whole machine."""
        if self._group is None:
            return tree.descendants(self.pid)
        return [one for one in map(tree.process, sorted(self._group.pids())) if one is not None]

    def _summed_cpu_s(self) -> float:
        alive = self._all()
        now = {(one.pid, one.started): one.cpu_s for one in alive}
        self._gone_cpu_s += sum(cpu_s for key, cpu_s in self._seen.items() if key not in now)
        self._seen = now
        return max(sum(one.cpu_s + one.waited_cpu_s for one in alive), self._gone_cpu_s + sum(now.values()))

    def memory_bytes(self) -> int:
        """Returns the memory in use by the whole tree, its files in memory included."""
        counted = self._group.memory_bytes() if self._group else None
        if counted is not None:
            return counted
        return self._summed_memory_bytes(self._all())

    def _summed_memory_bytes(self, alive: list[tree.Process]) -> int:
        return sum(tree.private_bytes(one.pid) for one in alive) + self._tmpfs(alive)[0]

    def _tmpfs(self, alive: list[tree.Process]) -> tuple[int, int]:
        """Bytes and files in the folders that live in memory; zeros where the host may not look."""
        roots = (Path(f"/proc/{one.pid}/root") for one in reversed(alive) if one.pid != self.pid)
        used_bytes = files = 0
        # On its way in, a process still has the root of the host.
        inside = next((root for root in roots if os.path.lexists(f"{root}{LAUNCHER}")), None)
        for folder in ("scratch", "tmp", "dev/shm") if inside else ():
            try:
                figures = os.statvfs(f"{inside}/{folder}")
            except OSError:
                continue
            used_bytes += (figures.f_blocks - figures.f_bfree) * figures.f_frsize
            files += figures.f_files - figures.f_ffree
        return used_bytes, files

    def check(self) -> str | None:
        """Returns in one sentence which limit is broken, None if none is. Valid after the end, until `close`."""
        limits = self._limits
        memory = f"It used more than its {limits.memory_bytes // MIB} MiB of memory."
        if self._group and self._group.out_of_memory():
            return memory
        enforced = self._group is not None and self._group.limits_memory
        alive = self._all()
        if not enforced and self._summed_memory_bytes(alive) > limits.memory_bytes:
            return memory
        threads = sum(one.threads for one in alive if one.alive and one.pid != self.pid)
        threads -= 0 if self._place else LAUNCHERS
        if threads >= limits.processes:
            return f"It used up its {limits.processes} processes and threads."
        if self._tmpfs(alive)[1] > SCRATCH_FILES_MAX:
            return f"It made more than {SCRATCH_FILES_MAX} files in its scratch space."
        return self._check_card(alive) or self._check_place() or self._check_out()

    def _check_card(self, alive: list[tree.Process]) -> str | None:
        most = self._limits.gpu_memory_bytes
        if self._card is None or most is None or not alive:
            return None
        try:
            used = self._card.used_bytes(one.pid for one in alive)
        except OSError:
            return None  # the driver is at fault, not the script
        return f"It used more than its {most // MIB} MiB of the GPU's memory." if used > most else None

    def _check_place(self) -> str | None:
        for folder in self._place.writable if self._place and not self._closed else ():
            used_bytes, files = _folder_use(folder, PLACE_FILES_MAX)
            if files > PLACE_FILES_MAX:
                return f"It made more than {PLACE_FILES_MAX} files in its scratch space."
            if used_bytes > self._limits.scratch_bytes:
                return f"It wrote more than {self._limits.scratch_bytes // MIB} MiB to its scratch space."
        return None

    def _check_out(self) -> str | None:
        if self._out is None:
            return None
        used_bytes, files = _folder_use(self._out, self._limits.out_files)
        if files > self._limits.out_files:
            return f"It left more than {self._limits.out_files} files in /out."
        if used_bytes > self._limits.out_bytes:
            return f"It wrote more than {self._limits.out_bytes // MIB} MiB to /out."
        return None

    def freeze(self) -> None:
        """Stops the whole tree where it is; its processor seconds stand still."""
        if not (self._group and self._group.freeze(True)):
            for _ in range(STOP_PASSES):
                if not self._signal(signal.SIGSTOP, "TtZX"):
                    return

    def thaw(self) -> None:
        """Lets a stopped tree go on."""
        if not (self._group and self._group.freeze(False)):
            self._signal(signal.SIGCONT, "")

    def _signal(self, number: int, passed_over: str) -> int:
        """Signals all but the outermost process; returns to how many it was news."""
        count = 0
        for one in self._all():
            if one.pid != self.pid and one.state not in passed_over:
                try:
                    os.kill(one.pid, number)
                except ProcessLookupError:
                    continue
                count += 1
        return count

    def kill(self) -> None:
        """Kills the whole tree and returns once nothing of it is left; ExperimentError if something will not die."""
        known = {one.pid: one for one in (*tree.descendants(self.pid), *self._all())}
        self.cpu_s()
        deadline = time.monotonic() + GONE_S
        if self._process.poll() is None:
            # Inside first: the first process of a PID namespace takes all others with it.
            self._signal(signal.SIGKILL, "ZX")
            if self._place:
                self._stop_reaper()
            self._process.kill()
        if self._group:
            self._group.kill()
        for one in tree.of_user(self._uid) if self._uid is not None else ():
            known[one.pid] = one
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        if self._place:  # a bomb may have gone on while nobody saw it, as where the outermost process was killed
            while self._place.kill_left() and time.monotonic() < deadline + REAPED_S:
                time.sleep(0.01)
            deadline = time.monotonic() + GONE_S
        if self.wait(GONE_S) is None:
            raise ExperimentError(f"Process {self.pid} of a sandbox cannot be killed; look at it with `ps`.")
        while left := [pid for pid, one in known.items() if _lives(one)]:
            if time.monotonic() > deadline:
                raise ExperimentError(f"Processes {left} of a sandbox cannot be killed; look at them with `ps`.")
            time.sleep(0.002)

    def _stop_reaper(self) -> None:
        """Lets the outermost process kill what a look from here may miss, and gives it the time."""
        if self._group:
            self._group.freeze(False)
        self._process.terminate()
        self.wait(REAPED_S)

    def output(self) -> bytes:
        """Returns the head and the tail of what was printed, at most `stdout_bytes` and one line between them."""
        if self._process.poll() is not None:
            self._output.finish()
        return self._output.read()

    def close(self) -> None:
        """Kills what is left and frees what the sandbox held on the host. May be called twice."""
        if self._closed:
            return
        self.kill()
        self._output.finish()
        if self._group:
            self._group.remove()
        if self._place:
            self._place.remove()
        if self._out is not None and os.geteuid() == 0:
            os.chown(self._out, 0, 0)
        self._closed = True


def _lives(one: tree.Process) -> bool:
    now = tree.process(one.pid)
    return now is not None and now.alive and now.started == one.started


def _folder_use(folder: Path, files_max: int) -> tuple[int, int]:
    """Bytes on disk and entries beneath a folder that its owner changes meanwhile; stops counting past `files_max`.

    Opens each folder relative to its parent and never through a link, so that nothing outside can be reached.
    """
    used_bytes = files = 0
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    stack = [os.open(folder, flags)]
    try:
        while stack and files <= files_max:
            fd = stack.pop()
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        files += 1
                        if files > files_max:
                            break
                        try:
                            figures = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                            used_bytes += figures.st_blocks * 512
                            if entry.is_dir(follow_symlinks=False):
                                stack.append(os.open(entry.name, flags, dir_fd=fd))
                        except OSError:
                            continue
            finally:
                os.close(fd)
    finally:
        for fd in stack:
            os.close(fd)
    return used_bytes, files
