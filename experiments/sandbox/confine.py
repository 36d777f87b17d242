"""Holds a script with Landlock and a system call filter, for machines where nothing may make namespaces.

Runs as a file of its own (`python -I -S confine.py FD COMMAND…`), the plan comes through the descriptor. This process
stays outside of the script's rules and ends the script's tree: as nobody's child may leave it (it is their
"subreaper"), all are found. Told to stop, or orphaned by the node, it does the same. Rejected: a process group, which
any process leaves with one call.
"""

import ctypes
import marshal
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any, NoReturn

    from experiments.sandbox import enter, launch
else:
    import _signal  # what `signal` wraps, without its enumerations, which are slow to make

    import enter
    import launch

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # on every architecture
RULE_PATH_BENEATH = 1
SCOPE_SIGNAL = 2
PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 36, 47, 2
CAPABILITY_VERSION, CAP_DAC_READ_SEARCH = 0x20080522, 2
OWN_FILES = ("maps", "status", "stat", "statm", "fd")  # of /proc/self
READ_FILE, READ_DIR, REFER = 1 << 2, 1 << 3, 1 << 13
PLAN_BYTES_MAX = 1 << 24
PASSES_MAX, PASS_S, SWIFT_PASSES = 5000, 0.001, 20
KILLED = 128 + 9


def system(number: int, *arguments: "Any") -> int:
    """Makes a system call; OSError if it fails."""
    result = int(enter.libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result


def restrict(files: int, network: int, scopes: int, rules: "list[tuple[str, int]]") -> None:
    """Takes away every right that Landlock knows of and these rules do not give, for good."""
    wanted = struct.pack("=QQQ", files, network, scopes)
    size = 24 if scopes else 16 if network else 8
    ruleset = system(CREATE_RULESET, wanted, ctypes.c_size_t(size), ctypes.c_uint(0))
    for path, rights in rules:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # gone, or not for this user: then there is nothing to allow
        try:
            rule = struct.pack("=Qi", rights, fd)
            system(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
        finally:
            os.close(fd)
    system(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)


def keep_search(uid: int) -> None:
    """Becomes an ordinary user who may still go through root's own folders: the interpreter may lie in one."""
    enter.control(PR_SET_KEEPCAPS, 1)
    launch.drop(uid, uid)
    kept = 1 << CAP_DAC_READ_SEARCH
    sets = struct.pack("=6I", kept, kept, kept, 0, 0, 0)
    enter.call("capset", struct.pack("=Ii", CAPABILITY_VERSION, 0), sets)
    enter.call("prctl", PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(CAP_DAC_READ_SEARCH),
               ctypes.c_ulong(0), ctypes.c_ulong(0))


def become(plan: "dict[str, Any]", command: list[str], parent: int) -> "NoReturn":
    """Goes on as the script: gives up rights one after the other and becomes the command."""
    os.setsid()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    launch.close_others(plan["fds"])
    if plan["search"]:
        keep_search(plan["uid"])
    elif plan["uid"] is not None:
        launch.drop(plan["uid"], plan["uid"])
    enter.control(enter.PR_SET_PDEATHSIG, enter.SIGKILL)
    if os.getppid() != parent:
        os._exit(KILLED)
    os.chdir(plan["cwd"])
    launch.limit(plan["limits"])
    if launch.WARM_NAME in os.environ:
        launch.seed_caches(os.environ[launch.WARM_NAME], os.environ["XDG_CACHE_HOME"])
    enter.control(enter.PR_SET_NO_NEW_PRIVS, 1)
    own = [(f"/proc/self/{name}", READ_DIR if name == "fd" else READ_FILE) for name in OWN_FILES]
    rights = plan["landlock"]
    restrict(rights["files"], rights["network"], rights["scopes"], [*rights["rules"], *own])
    enter.filter_calls(plan["seccomp"])
    os.execve(command[0], command, dict(os.environ))


def children() -> "dict[int, list[tuple[int, str]]]":
    """Returns parent -> (process, state) of the whole machine."""
    found: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            found.setdefault(int(parent), []).append((int(name), state.decode()))
    return found


def beneath(root: int) -> "list[tuple[int, str]]":
    """Returns every process below `root`."""
    known, found = children(), []
    waiting = [root]
    while waiting:
        below = known.get(waiting.pop(), [])
        found += below
        waiting += [pid for pid, _ in below]
    return found


def signal_all(number: int, passed_over: str) -> None:
    """Signals what is below this process, but for those in certain states."""
    for pid, state in beneath(os.getpid()):
        if state not in passed_over:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def kill_reachable() -> None:
    """Kills all that the kernel lets this process reach: nothing but the script's processes, all at once."""
    try:
        os.kill(-1, enter.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def kill_children() -> None:
    """Kills this process's own children. Whose parent ends becomes one: chains of forks end here."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        for word in file.read().split():
            try:
                os.kill(int(word), enter.SIGKILL)
            except ProcessLookupError:
                continue


def kill_user(uid: int) -> None:
    """Kills all processes of the script's own user, at once."""
    killer = os.fork()
    if killer == 0:
        launch.drop(uid, uid)
        kill_reachable()
        os._exit(0)
    os.waitpid(killer, 0)


def sweep(scoped: bool, uid: "int | None") -> None:
    """Kills all that is left of the script and waits for its end."""
    for _ in range(PASSES_MAX):
        if scoped:
            kill_reachable()
        elif uid is not None:
            kill_user(uid)
        else:
            signal_all(_signal.SIGSTOP, "TtZX")  # those who stand still start no others
            for _ in range(SWIFT_PASSES):
                kill_children()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(PASS_S)


def main() -> None:
    """Reads the plan, starts the command under it, ends with its status once nothing of it is left."""
    source, command = int(sys.argv[1]), sys.argv[2:]
    plan = marshal.loads(os.read(source, PLAN_BYTES_MAX))
    os.umask(0o022)
    enter.control(enter.PR_SET_PDEATHSIG, _signal.SIGTERM)
    if os.getppid() != plan["parent"]:
        os._exit(KILLED)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(launch.LIKELY_VICTIM)
    launch.close_itself()
    launch.wait_at_gate()
    enter.control(PR_SET_CHILD_SUBREAPER, 1)
    enter.control(enter.PR_SET_NO_NEW_PRIVS, 1)
    scoped = bool(plan["landlock"]["scopes"])
    if scoped:
        # A first set of rules would forbid renaming from folder to folder, whether it speaks of files or not.
        restrict(REFER, 0, SCOPE_SIGNAL, [("/", REFER)])
    awaited = [_signal.SIGTERM, _signal.SIGCHLD]
    _signal.pthread_sigmask(_signal.SIG_BLOCK, awaited)
    me = os.getpid()
    script = os.fork()
    if script == 0:
        become(plan, command, me)
    launch.close_others([])
    code: int | None = None
    while code is None and _signal.sigwait(awaited) == _signal.SIGCHLD:
        pid = -1
        while code is None and pid != 0:
            pid, status = os.waitpid(-1, os.WNOHANG)  # orphans as well; the script itself is always left to wait for
            if pid == script:
                code = os.waitstatus_to_exitcode(status)
    sweep(scoped, plan["uid"])
    code = KILLED if code is None else code
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
