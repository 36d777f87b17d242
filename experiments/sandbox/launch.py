"""The first process inside a sandbox: starts the script with fewer rights than its own, and ends with it.

Runs as a file of its own (`python -I -S launch.py CONFIG COMMAND…`), so it imports the standard library only. Being
number 1 of its PID namespace, its end is everybody's end. Rejected: bubblewrap's own first process, whose memory a
script of the same user can write to, which frees it from dying with the node.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

PR_SET_DUMPABLE = 4
LIKELY_VICTIM = "1000"  # when the machine is out of memory, the kernel takes the script first


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
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot close itself to the script")


def become(command: list[str], config: dict[str, Any]) -> NoReturn:
    """Gives up rights, sets limits and becomes the command."""
    if config["uid"] is not None:
        drop(config["uid"], config["gid"])
    os.chdir(config["cwd"])
    limit(config["limits"])
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(command[0], command, dict(os.environ))


def main() -> None:
    """Reads the configuration from the first argument, starts the command in the rest, ends with its status."""
    config, command = json.loads(sys.argv[1]), sys.argv[2:]
    close_others(config["fds"])
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(LIKELY_VICTIM)
    close_itself()
    script = os.fork()
    if script == 0:
        become(command, config)
    close_others([])
    while True:
        pid, status = os.wait()  # orphans as well
        if pid == script:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
