# Tries: to make namespaces of its own, in which it would be root again.
# Harmless without a filter: unshare, clone, setns
import ctypes
import os
import struct


def call(name, number, *arguments):
    ctypes.set_errno(0)
    answer = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    print("OBTAINED" if answer >= 0 else "refused", name, answer, ctypes.get_errno())
    return answer


def main():
    for flag in (0x10000000, 0x20000, 0x04000000, 0x08000000, 0x20000000, 0x40000000, 0x02000000, 0x80):
        call(f"unshare {flag:#x}", 272, flag) if flag != 0x80 else call("unshare time", 272, flag)
        if flag == 0x80:
            continue
        pid = ctypes.CDLL(None).syscall(56, flag | 17, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        print("OBTAINED a clone" if pid > 0 else "refused clone", hex(flag))
    call("clone3", 435, struct.pack("=11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)
    for name in ("user", "mnt", "net", "pid", "ipc", "uts", "cgroup"):
        for pid in ("1", "self"):
            try:
                fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
            except OSError as error:
                print(pid, name, error)
                continue
            if pid == "1":
                print("OBTAINED", name, "of the first process")
            call(f"setns {name}", 308, fd, 0)
    for path in ("/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"):
        try:
            with open(path, "w") as file:
                file.write("0 0 4294967295" if "map" in path else "allow")
            print("OBTAINED", path)
        except OSError as error:
            print(path, error)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
