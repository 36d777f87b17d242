"""Makes a sandbox of namespaces and goes into it: what bubblewrap does, for machines that lack it.

Runs as a file of its own (`python -I -S enter.py FD COMMAND…`), so it imports the standard library only, and calls the
kernel through ctypes; its plan comes through the descriptor. Needs Linux 5.12 for `mount_setattr`, which adds
restrictions to a mount without having to know those that it has. Leaves out limits and users, which the launcher sees
to. Rejected: `unshare` and `mount` of util-linux, a dozen processes a start.
"""

import ctypes
import marshal
import os
import struct
import sys

TYPE_CHECKING = False  # the module itself is too slow to load
if TYPE_CHECKING:
    from typing import Any, NoReturn

NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC, NEW_USER, NEW_PIDS, NEW_NET = (
    0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV, MS_NOEXEC = 4096, 16384, 1 << 18, 2, 4, 8
MNT_DETACH = 2
SIGKILL = 9
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 22, 38, 2
MOUNT_SETATTR = 442
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
BASE = "/tmp"  # any folder that every machine has; covered in our own view only
INNER_ID = 65534
PLAN_BYTES_MAX = 1 << 24

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: "Any") -> None:
    """Calls the C library, with strings as paths; OSError if it fails."""
    passed = [one.encode() if isinstance(one, str) else one for one in arguments]
    if getattr(libc, name)(*passed) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", *[one for one in arguments if isinstance(one, str)][:1])


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mounts; `target` must exist."""
    call("mount", source, target, kind, ctypes.c_ulong(flags), options)


def restrict(target: str, attributes: int, flags: int = 0) -> None:
    """Adds restrictions to a mount, or with AT_RECURSIVE to all beneath it."""
    wanted = struct.pack("=QQQQ", attributes, 0, 0, 0)
    call("syscall", ctypes.c_long(MOUNT_SETATTR), ctypes.c_int(AT_FDCWD), target, ctypes.c_uint(flags), wanted,
         ctypes.c_size_t(len(wanted)))


def leave(user: bool) -> None:
    """Leaves the host's namespaces; as an ordinary user by way of a user namespace of one's own."""
    uid, gid = os.getuid(), os.getgid()
    call("unshare", (NEW_USER if user else 0) | NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PIDS | NEW_NET)
    if user:
        maps = {"setgroups": "deny", "uid_map": f"{INNER_ID} {uid} 1", "gid_map": f"{INNER_ID} {gid} 1"}
        for file, text in maps.items():
            with open(f"/proc/self/{file}", "w") as target:
                target.write(text)


def furnish(plan: "dict[str, Any]") -> None:
    """Builds the script's root in a fresh memory folder, and makes it the root of everything."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", BASE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
    os.mkdir(f"{BASE}/old")
    os.mkdir(f"{BASE}/new")
    pivot(BASE, f"{BASE}/old")
    os.chdir("/")
    mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
    # Before what is shown: an interpreter may itself lie below /tmp.
    for folder, options in plan["memory"]:
        os.makedirs(f"/new{folder}", exist_ok=True)
        mount("tmpfs", f"/new{folder}", "tmpfs", MS_NOSUID | MS_NODEV, options)
    for source, inside, use in plan["shown"]:
        show(f"/old{source}", f"/new{inside}", use)
    for where, target in plan["links"]:
        os.makedirs(os.path.dirname(f"/new{where}"), exist_ok=True)
        os.symlink(target, f"/new{where}")
    for folder in plan["hidden"]:
        mount("tmpfs", f"/new{folder}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0555,size=4k")
        restrict(f"/new{folder}", ATTR_RDONLY)
    os.makedirs("/new/proc", exist_ok=True)
    mount("proc", "/new/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("/new/proc/sys", "/new/proc/sys", None, MS_BIND)
    restrict("/new/proc/sys", ATTR_RDONLY)  # its switches would obey whoever made the namespace
    call("umount2", "/old", MNT_DETACH)
    os.chdir("/new")
    pivot(".", ".")
    call("umount2", ".", MNT_DETACH)
    os.chdir("/")
    restrict("/", ATTR_RDONLY)


def show(source: str, target: str, use: str) -> None:
    """Binds a file or folder of the host into the new root."""
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    mount(source, target, None, MS_BIND | MS_REC)
    closed = ATTR_NOSUID | ATTR_NODEV
    attributes = {"read": closed | ATTR_RDONLY, "write": closed, "device": ATTR_NOSUID}
    restrict(target, attributes[use], AT_RECURSIVE)


def pivot(new: str, old: str) -> None:
    """Makes `new` the root and puts the old one at `old`."""
    call("syscall", ctypes.c_long(PIVOT_ROOT[os.uname().machine]), new, old)


def filter_calls(program: bytes) -> None:
    """Installs a system call filter, for good."""
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    call("prctl", PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), head, ctypes.c_ulong(0), ctypes.c_ulong(0))


def control(option: int, value: int) -> None:
    """Sets an attribute of this process."""
    call("prctl", option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the one that started it ends."""
    control(PR_SET_PDEATHSIG, SIGKILL)


def inside(plan: "dict[str, Any]", command: list[str], alive: int) -> "NoReturn":
    """Goes on as the first process of the new PID namespace: mounts, filters, becomes the launcher."""
    die_with_parent()
    if os.read(alive, 1) != b"\n":
        os._exit(1)
    os.close(alive)
    os.setsid()
    call("sethostname", "sandbox", ctypes.c_size_t(len("sandbox")))
    furnish(plan)
    control(PR_SET_NO_NEW_PRIVS, 1)
    if plan["seccomp"]:
        filter_calls(plan["seccomp"])
    for fd in plan["fds"]:
        os.set_inheritable(fd, True)
    os.execve(command[0], command, dict(os.environ))


def main() -> None:
    """Reads the plan, runs the launcher in it, ends with its status."""
    source, command = int(sys.argv[1]), sys.argv[2:]
    plan = marshal.loads(os.read(source, PLAN_BYTES_MAX))
    os.close(source)
    os.umask(0o022)
    die_with_parent()
    leave(plan["user"])
    # The child writes nothing to the host before it has heard that its parent lives on.
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        inside(plan, command, read)
    os.write(write, b"\n")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
