"""The first process inside a sandbox: starts the script with fewer rights than its own, and ends with it.

Runs as a file of its own (`python -I -S launch.py UID CWD FDS LIMITS COMMAND…`). It imports next to nothing, no json,
typing or signal: they cost more than all the rest. Being number 1 of its PID namespace, its end is everybody's end.
Rejected: bubblewrap's own first process, whose memory a script of the same user can write to, which frees it from dying
with the node.
"""

import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LAUNCHER = "/run/launch.py"  # where this file is shown inside
PR_SET_DUMPABLE = 4
LIKELY_VICTIM = "1000"  # when the machine is out of memory, the kernel takes the script first
SAME_USER = "-"
WARM_NAME = "SANDBOX_WARM_CACHE"  # the folder, if there is one


def drop(uid: int, gid: int) -> None:
    """Becomes an ordinary user for good: real, effective and saved ids, no groups, hence no capabilities."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.geteuid() == 0:
        raise PermissionError("still privileged after giving up rights")


def limit(limits: dict[str, int]) -> None:
    """Sets both bounds of each limit, never above the bound that holds already."""
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def close_others(kept: list[int]) -> None:
    """Closes every descriptor but stdin, stdout, stderr and `kept`."""
    low = 3
    for fd in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(low, fd)
        low = fd + 1
    for fd in kept:
        os.set_inheritable(fd, True)


def close_itself() -> None:
    """Hides this process from others of the same user: its memory, environment and descriptors in /proc."""
    import ctypes  # takes longer than the rest of this file

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot close itself to the script")


def wait_at_gate() -> None:
    """Returns when the node has put this process under its limits; ends it if the node is gone."""
    if os.read(0, 1) != b"\n":
        os._exit(1)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing != 0:
        os.close(nothing)


def seed_caches(source: str, target: str) -> None:
    """Gives the script's own cache folder a link to each file of a warm one, which stays as it is."""
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                seed_caches(entry.path, f"{target}/{entry.name}")
            else:
                os.symlink(entry.path, f"{target}/{entry.name}")


def become(command: list[str], uid: str, cwd: str, limits: dict[str, int]) -> "NoReturn":
    """Gives up rights, sets limits and becomes the command."""
    if uid != SAME_USER:
        drop(int(uid), int(uid))
    os.chdir(cwd)
    limit(limits)
    if WARM_NAME in os.environ:
        seed_caches(os.environ[WARM_NAME], os.environ["XDG_CACHE_HOME"])
    os.execve(command[0], command, dict(os.environ))


def main() -> None:
    """Starts the command and ends with its status. FDS is like `3,7`, LIMITS like `RLIMIT_CORE=0,RLIMIT_NOFILE=64`."""
    uid, cwd, kept, limits = sys.argv[1:5]
    close_others([int(fd) for fd in kept.split(",") if fd])
    os.umask(0o022)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(LIKELY_VICTIM)
    if uid == SAME_USER:
        close_itself()
    wait_at_gate()
    script = os.fork()
    if script == 0:
        pairs = (pair.split("=") for pair in limits.split(",") if pair)
        become(sys.argv[5:], uid, cwd, {name: int(value) for name, value in pairs})
    close_others([])
    while True:
        pid, status = os.wait()  # orphans as well
        if pid == script:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
