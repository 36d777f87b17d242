"""The system calls that a script does without, as a filter for the kernel (seccomp BPF, assembled by hand).

A deny-list: whole numeric libraries and a GPU driver run inside, and an allow-list would break with each of their
releases. Names come from the kernel's syscall tables. Leaves out file access, which the mounts decide. Rejected:
libseccomp, a system library that most machines lack the headers and bindings of.
"""

import errno
import os
import struct

from experiments.sandbox import hostcalls

LOAD_WORD, JUMP_EQUAL, JUMP_ANY_BIT, JUMP_AT_LEAST, RETURN, AND = 0x20, 0x15, 0x45, 0x35, 0x06, 0x54
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER_AT, ARCH_AT, ARGS_AT = 0, 4, 16
X32_FIRST = 0x40000000
NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
AF_UNIX = 1
TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (x86_64, aarch64); one number where all architectures agree, None where there is no such call.
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # large, rarely needed doors into the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "fanotify_init": (300, 262), "memfd_secret": (447, 447), "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "uselib": (134, None), "personality": (135, 92),
    # mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    # the machine as a whole
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "iopl": (172, None), "ioperm": (173, None), "swapon": (167, 224),
    "swapoff": (168, 225), "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162),
    "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "vhangup": (153, 58),
}
# Memory that belongs to no process: only a control group counts it, so without one there is none to be had.
HOARDS: dict[str, tuple[int | None, int | None]] = {"memfd_create": (319, 279), "shmget": (29, 194)}
CLONE, CLONE3, SOCKET, IOCTL = (56, 220), (435, 435), (41, 198), (16, 29)


def program(
    machine: str | None = None, *, hoards: bool = True, shared: bool = False, signals: bool = True
) -> bytes | None:
    """Returns the filter for a machine (`os.uname().machine`), None where we have no table for it.

    `hoards` allows memory that belongs to no process. `shared` is for a script in the host's own namespaces: it
    forbids what reaches past it, and without `signals` each signal that is sent on purpose.
    """
    machine = machine or os.uname().machine
    if machine not in AUDIT_ARCH:
        return None
    column = list(AUDIT_ARCH).index(machine)
    code = [_at(ARCH_AT), _jump(JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0), _give(KILL_PROCESS), _at(NUMBER_AT)]
    if machine == "x86_64":  # the x32 numbers would pass beside the table
        code += [_jump(JUMP_AT_LEAST, X32_FIRST, 0, 1), _refuse(errno.ENOSYS)]
    # Its flags lie in memory, out of a filter's sight; told that it is missing, the C library takes clone instead.
    code += [_jump(JUMP_EQUAL, CLONE3[column], 0, 1), _refuse(errno.ENOSYS)]
    for numbers in [*DENIED.values(), *([] if hoards else HOARDS.values())]:
        code += _deny(numbers[column])
    code += _shared(column, signals) if shared else []
    code += [_jump(JUMP_EQUAL, CLONE[column], 0, 4), _argument(0), _jump(JUMP_ANY_BIT, NAMESPACE_FLAGS, 0, 1),
             _refuse(errno.EPERM), _give(ALLOW)]
    code += [_jump(JUMP_EQUAL, SOCKET[column], 0, 4), _argument(0), _jump(JUMP_EQUAL, AF_UNIX, 1, 0),
             _refuse(errno.EAFNOSUPPORT), _give(ALLOW)]
    code += [_jump(JUMP_EQUAL, IOCTL[column], 0, 5), _argument(1), _jump(JUMP_EQUAL, TERMINAL_INJECTION[0], 1, 0),
             _jump(JUMP_EQUAL, TERMINAL_INJECTION[1], 0, 1), _refuse(errno.EPERM), _give(ALLOW)]
    return b"".join([*code, _give(ALLOW)])


def _shared(column: int, signals: bool) -> list[bytes]:
    """What is forbidden where the script shares the host's namespaces."""
    code: list[bytes] = []
    for numbers in [*hostcalls.FORBIDDEN.values(), *([] if signals else hostcalls.SIGNALS.values())]:
        code += _deny(numbers[column])
    for numbers in hostcalls.ON_ONESELF.values():
        code += [_jump(JUMP_EQUAL, numbers[column] or 0, 0, 4), _argument(0), _jump(JUMP_EQUAL, 0, 1, 0),
                 _refuse(errno.EPERM), _give(ALLOW)]
    code += [_jump(JUMP_EQUAL, hostcalls.SOCKETPAIR[column], 0, 6), _argument(1),
             _instruction(AND, hostcalls.KIND_MASK), _jump(JUMP_EQUAL, hostcalls.STREAM, 2, 0),
             _jump(JUMP_EQUAL, hostcalls.SEQPACKET, 1, 0), _refuse(errno.EPERM), _give(ALLOW)]
    owner, owner_ex = hostcalls.SIGNAL_OWNERS
    code += [_jump(JUMP_EQUAL, hostcalls.FCNTL[column], 0, 5), _argument(1), _jump(JUMP_EQUAL, owner, 1, 0),
             _jump(JUMP_EQUAL, owner_ex, 0, 1), _refuse(errno.EPERM), _give(ALLOW)]
    first, second = hostcalls.SIGNAL_OWNER_IOCTLS
    return [*code, _jump(JUMP_EQUAL, IOCTL[column], 0, 5), _argument(1), _jump(JUMP_EQUAL, first, 1, 0),
            _jump(JUMP_EQUAL, second, 0, 1), _refuse(errno.EPERM), _at(NUMBER_AT)]


def _deny(number: int | None) -> list[bytes]:
    return [] if number is None else [_jump(JUMP_EQUAL, number, 0, 1), _refuse(errno.EPERM)]


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _at(offset: int) -> bytes:
    return _instruction(LOAD_WORD, offset)


def _argument(index: int) -> bytes:
    """Loads the low half of an argument; both machines are little-endian, and the kernel reads these as 32 bits."""
    return _at(ARGS_AT + 8 * index)


def _jump(kind: int, value: int, yes: int, no: int) -> bytes:
    return _instruction(kind, value, yes, no)


def _give(action: int) -> bytes:
    return _instruction(RETURN, action)


def _refuse(number: int) -> bytes:
    return _give(ERRNO | number)
