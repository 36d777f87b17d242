# Tries: to open the kernel's large doors: bpf, perf, userfaultfd, fanotify, kexec, modules, memory of others.
import ctypes


def call(name, number, *arguments):
    ctypes.set_errno(0)
    answer = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    print("OBTAINED" if answer >= 0 else "refused", name, answer, ctypes.get_errno())
    return answer


def main():
    room = ctypes.create_string_buffer(256)
    for name, number, arguments in (
        ("bpf map", 321, (0, room, 128)),
        ("bpf program", 321, (5, room, 128)),
        ("perf_event_open", 298, (room, 0, -1, -1, 0)),
        ("userfaultfd", 323, (0,)),
        ("userfaultfd, user mode", 323, (1,)),
        ("fanotify_init", 300, (0, 0)),
        ("kexec_load", 246, (0, 0, room, 0)),
        ("kexec_file_load", 320, (-1, -1, 0, room, 0)),
        ("init_module", 175, (room, 64, room)),
        ("finit_module", 313, (0, room, 0)),
        ("delete_module", 176, (room, 0)),
        ("iopl", 172, (3,)),
        ("ioperm", 173, (0x70, 2, 1)),
        ("reboot", 169, (0xFEE1DEAD, 672274793, 0, 0)),
        ("swapon", 167, (b"/scratch/x", 0)),
        ("acct", 163, (b"/out/acct",)),
        ("quotactl", 179, (0, b"/dev/vda", 0, room)),
        ("settimeofday", 164, (room, room)),
        ("clock_settime", 227, (0, room)),
        ("sethostname", 170, (b"owned", 5)),
        ("syslog", 103, (3, room, 256)),
        ("modify_ldt", 154, (1, room, 16)),
        ("process_vm_readv", 310, (1, room, 1, room, 1, 0)),
        ("process_vm_writev", 311, (1, room, 1, room, 1, 0)),
        ("pidfd_getfd", 438, (0, 0, 0)),
        ("process_madvise", 440, (0, room, 1, 8, 0)),
        ("kcmp", 312, (1, 1, 0, 0, 0)),
        ("memfd_secret", 447, (0,)),
        ("personality", 135, (0x0400000,)),
        ("vhangup", 153, ()),
        ("lookup_dcookie", 212, (0, room, 8)),
    ):
        call(name, number, *arguments)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
