"""The first Python inside a sandbox: gives up what is left of rights, sets limits, then becomes the script.

Runs as a file of its own (`python -I -S launch.py CONFIG COMMAND…`), so it imports the standard library only.
Rejected: `preexec_fn` in the node, which runs Python between fork and exec of a process with threads.
"""

import json
import os
import resource
import sys


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


def main() -> None:
    """Reads the configuration from the first argument and becomes the command in the rest."""
    config, command = json.loads(sys.argv[1]), sys.argv[2:]
    close_others(config["fds"])
    os.umask(0o022)
    if config["uid"] is not None:
        drop(config["uid"], config["gid"])
    os.chdir(config["cwd"])
    limit(config["limits"])
    os.execve(command[0], command, dict(os.environ))


if __name__ == "__main__":
    main()
