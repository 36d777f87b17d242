# Tries: to become root again, to make namespaces, to mount, and to open large doors into the kernel.
import ctypes
import os
import platform

X86 = {"mount": 165, "unshare": 272, "setns": 308, "chroot": 161, "pivot_root": 155, "bpf": 321, "perf_event_open": 298,
       "userfaultfd": 323, "keyctl": 250, "io_uring_setup": 425, "kexec_load": 246, "init_module": 175, "ptrace": 101,
       "open_by_handle_at": 304, "fsopen": 430, "open_tree": 428, "sethostname": 170, "settimeofday": 164,
       "reboot": 169, "swapon": 167, "acct": 163, "syslog": 103, "add_key": 248}
CLONE_NEWUSER, SIGCHLD = 0x10000000, 17


def attempt(words, action):
    try:
        print("OBTAINED", words, action())
    except OSError as error:
        print("refused", words, error)


def main():
    attempt("uid 0", lambda: os.setresuid(0, 0, 0))
    attempt("gid 0", lambda: os.setgroups([0]))
    libc = ctypes.CDLL(None, use_errno=True)
    if platform.machine() == "x86_64":
        room = ctypes.create_string_buffer(256)
        for name, number in X86.items():
            arguments = (CLONE_NEWUSER, 0) if name == "unshare" else (room, room, room, 0, 0)
            if libc.syscall(number, *arguments) >= 0:
                print("OBTAINED", name)
        pid = libc.syscall(56, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        if pid > 0:
            print("OBTAINED a user namespace")
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
                 "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/sys/kernel/uevent_helper", "/dev/kmsg",
                 "/sys/fs/cgroup/cgroup.procs"):
        attempt(path, lambda path=path: os.close(os.open(path, os.O_WRONLY)))
    for path in ("/dev/mem", "/dev/kmem", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/kvm", "/dev/fuse",
                 "/dev/net/tun", "/dev/loop-control", "/dev/input/event0", "/dev/uinput", "/dev/dri/card0"):
        attempt(path, lambda path=path: os.close(os.open(path, os.O_RDONLY)))
    attempt("a disk of its own", lambda: os.mknod("/scratch/disk", 0o060666, os.makedev(254, 0)))


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
