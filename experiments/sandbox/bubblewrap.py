"""The bubblewrap command line of a sandbox.

Pure: values in, arguments out. The order of arguments is the order in which bubblewrap mounts, so masks follow what
they mask and the root is made read-only last. Rejected: `--clearenv`, which leaves the environment that bubblewrap was
started with readable in `/proc/1/environ`; it is started with the script's environment instead.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.sandbox.bounds import Level, Limits, Mount
from experiments.sandbox.launch import LAUNCHER
from experiments.sandbox.visible import View

INNER_UID = 65534  # inside a user namespace; on the host it is the owner of the node
TMPFS_INSIDE = ("/scratch", "/tmp")
HIDDEN_BYTES = 4096  # of the empty folder that covers a hidden one


def arguments(
    level: Level, limits: Limits, view: View, mounts: Sequence[Mount], out: Path | None,
    devices: Sequence[str], seccomp_fd: int | None = None,
) -> list[str]:
    """Returns bubblewrap's arguments up to the `--` before the command."""
    args = [level.program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
            "--die-with-parent", "--as-pid-1", "--new-session", "--hostname", "sandbox"]
    if "root" in level.features:
        args += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        args += ["--unshare-user", "--uid", str(INNER_UID), "--gid", str(INNER_UID)]
        args += ["--disable-userns"] if "nested" in level.features else []
    if seccomp_fd is not None:
        args += ["--seccomp", str(seccomp_fd)]
    inside = [*view.folders, *view.files, Path(LAUNCHER), *(Path(mount.inside) for mount in mounts)]
    # Some of a namespace's own switches would obey whoever made it: an ordinary user's script has the same id.
    args += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
    for path in devices:
        args += ["--dev-bind", path, path]
    # The writable folders come before what is shown: an interpreter may itself lie below /tmp.
    args += ["--perms", "1777", "--size", str(limits.shm_bytes), "--tmpfs", "/dev/shm"]
    for folder in TMPFS_INSIDE:
        args += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", folder]
    args += _parents(inside, [*view.folders, *(Path(mount.inside) for mount in mounts)])
    args += _system(view)
    args += ["--ro-bind", str(Path(__file__).with_name("launch.py")), LAUNCHER]
    for mount in mounts:
        args += ["--ro-bind", str(mount.host), mount.inside]
    if out is not None:
        args += ["--bind", str(out), "/out"]
    return [*args, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


def _parents(inside: Sequence[Path], covered: Sequence[Path]) -> list[str]:
    """The folders above what is shown; bubblewrap would make them readable by root alone."""
    wanted = {parent for path in inside for parent in path.parents if parent != Path("/")}
    wanted -= {Path(folder) for folder in TMPFS_INSIDE}
    free = sorted(path for path in wanted if not any(path.is_relative_to(folder) for folder in covered))
    return [word for path in free for word in ("--perms", "0755", "--dir", str(path))]


def _system(view: View) -> list[str]:
    args: list[str] = []
    for path in (*view.folders, *view.files):
        args += ["--ro-bind", str(path), str(path)]
    for where, target in view.links:
        args += ["--symlink", target, where]
    for path in view.hidden:
        args += ["--perms", "0555", "--size", str(HIDDEN_BYTES), "--tmpfs", str(path), "--remount-ro", str(path)]
    return args
