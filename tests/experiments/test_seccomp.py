"""The system call filter, judged by a small interpreter of its own: the machine at hand runs only one of the two."""

import errno
import struct

import pytest

from experiments.sandbox import hostcalls, seccomp

ALLOWED = seccomp.ALLOW
CALLS = {"x86_64": {"read": 0, "clone": 56, "socket": 41, "ioctl": 16, "ptrace": 101, "mount": 165, "clone3": 435},
         "aarch64": {"read": 63, "clone": 220, "socket": 198, "ioctl": 29, "ptrace": 117, "mount": 40, "clone3": 435}}


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Runs a filter on one call, as the kernel would."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("<HBBI", program))
    at = loaded = 0
    while True:
        kind, yes, no, value = code[at]
        at += 1
        if kind == 0x20:
            loaded = struct.unpack_from("<I", data, value)[0]
        elif kind == 0x54:
            loaded &= value
        elif kind == 0x06:
            return value
        else:
            holds = {0x15: loaded == value, 0x45: bool(loaded & value), 0x35: loaded >= value}[kind]
            at += yes if holds else no


def refused(number: int) -> int:
    return seccomp.ERRNO | number


@pytest.mark.parametrize("machine", CALLS)
def test_every_denied_call_is_refused_and_others_pass(machine):
    program, arch = seccomp.program(machine), seccomp.AUDIT_ARCH[machine]
    column = list(CALLS).index(machine)
    denied = {numbers[column] for numbers in seccomp.DENIED.values()} - {None}
    special = {numbers[column] for numbers in (seccomp.CLONE, seccomp.CLONE3, seccomp.SOCKET, seccomp.IOCTL)}
    for number in range(500):
        if number not in special:
            assert verdict(program, arch, number) == (refused(errno.EPERM) if number in denied else ALLOWED), number
    calls = CALLS[machine]
    assert {calls["ptrace"], calls["mount"]} <= denied
    assert verdict(program, arch, calls["clone3"]) == refused(errno.ENOSYS)


@pytest.mark.parametrize("machine", CALLS)
def test_arguments_decide_where_they_must(machine):
    program, arch, calls = seccomp.program(machine), seccomp.AUDIT_ARCH[machine], CALLS[machine]
    thread, process, new_user = 0x3D0F00, 17, 0x10000011
    assert verdict(program, arch, calls["clone"], thread) == ALLOWED
    assert verdict(program, arch, calls["clone"], process) == ALLOWED
    assert verdict(program, arch, calls["clone"], new_user) == refused(errno.EPERM)
    assert verdict(program, arch, calls["socket"], 1) == ALLOWED
    for family in (0, 2, 10, 16, 17, 38, 40):
        assert verdict(program, arch, calls["socket"], family) == refused(errno.EAFNOSUPPORT)
    assert verdict(program, arch, calls["ioctl"], 0, 0x5401) == ALLOWED
    for request in seccomp.TERMINAL_INJECTION:
        assert verdict(program, arch, calls["ioctl"], 0, request) == refused(errno.EPERM)


def test_foreign_calling_conventions_do_not_pass_beside_the_table():
    program = seccomp.program("x86_64")
    assert verdict(program, 0x40000003, 26) == seccomp.KILL_PROCESS  # 32-bit ptrace
    assert verdict(program, seccomp.AUDIT_ARCH["x86_64"], seccomp.X32_FIRST + 521) == refused(errno.ENOSYS)


def test_hoards_are_allowed_only_where_they_are_counted():
    arch, memfd = seccomp.AUDIT_ARCH["x86_64"], seccomp.HOARDS["memfd_create"][0]
    assert verdict(seccomp.program("x86_64"), arch, memfd) == ALLOWED
    assert verdict(seccomp.program("x86_64", hoards=False), arch, memfd) == refused(errno.EPERM)


@pytest.mark.parametrize("machine", CALLS)
def test_beside_the_hosts_processes_more_is_refused(machine):
    arch, column = seccomp.AUDIT_ARCH[machine], list(CALLS).index(machine)
    program = seccomp.program(machine, shared=True)
    for name, numbers in hostcalls.FORBIDDEN.items():
        if numbers[column] is not None:
            assert verdict(program, arch, numbers[column], 1) == refused(errno.EPERM), name
    for name, numbers in hostcalls.ON_ONESELF.items():
        assert verdict(program, arch, numbers[column], 0) == ALLOWED, name
        assert verdict(program, arch, numbers[column], 4711) == refused(errno.EPERM), name
    for number in range(500):  # what is forbidden to all stays so, and nothing else is lost
        special = {numbers[column] for numbers in (seccomp.CLONE, seccomp.CLONE3, seccomp.IOCTL, hostcalls.SOCKETPAIR,
                                                   hostcalls.FCNTL, *hostcalls.ON_ONESELF.values())}
        denied = {numbers[column] for numbers in (*seccomp.DENIED.values(), *hostcalls.FORBIDDEN.values())}
        if number not in special:
            assert verdict(program, arch, number) == (refused(errno.EPERM) if number in denied else ALLOWED), number


@pytest.mark.parametrize("machine", CALLS)
def test_pairs_of_sockets_cannot_be_turned_and_signals_not_lent(machine):
    arch, column = seccomp.AUDIT_ARCH[machine], list(CALLS).index(machine)
    program = seccomp.program(machine, shared=True)
    pair, fcntl, ioctl = hostcalls.SOCKETPAIR[column], hostcalls.FCNTL[column], CALLS[machine]["ioctl"]
    close_on_exec = 0o2000000
    for kind, allowed in ((1, True), (5, True), (1 | close_on_exec, True), (2, False), (3, False), (2 | 0o4000, False)):
        assert (verdict(program, arch, pair, 1, kind) == ALLOWED) == allowed, kind
    for command, allowed in ((1, True), (4, True), (8, False), (15, False)):
        assert (verdict(program, arch, fcntl, 3, command) == ALLOWED) == allowed, command
    for request, allowed in ((0x5401, True), (0x8901, False), (0x8902, False), (seccomp.TERMINAL_INJECTION[0], False)):
        assert (verdict(program, arch, ioctl, 0, request) == ALLOWED) == allowed, request


def test_signals_are_refused_where_the_kernel_cannot_keep_them_inside():
    arch = seccomp.AUDIT_ARCH["x86_64"]
    scoped, unscoped = (seccomp.program("x86_64", shared=True, signals=signals) for signals in (True, False))
    for name, (number, _) in hostcalls.SIGNALS.items():
        assert verdict(scoped, arch, number) == ALLOWED, name
        assert verdict(unscoped, arch, number) == refused(errno.EPERM), name


def test_a_machine_without_a_table_has_no_filter():
    assert seccomp.program("riscv64") is None
