# Tries: to take all memory: private, shared and file-backed by memory, at once or as ATTACK_KIND says.
import mmap
import os

STEP = 16 << 20


def main():
    kind, held, total = os.environ.get("ATTACK_KIND"), [], 0
    if kind is None:
        kind = next((one for one in ("shared", "memfd", "files") if os.fork() == 0), "private")
    while True:
        if kind == "private":
            held.append(bytearray(os.urandom(1)) * STEP)
        elif kind == "shared":
            region = mmap.mmap(-1, STEP)
            region.write(b"x" * STEP)
            held.append(region)
        elif kind == "memfd":
            fd = os.memfd_create("hoard")
            os.write(fd, b"x" * STEP)
            held.append(fd)
        else:
            with open(f"/dev/shm/{total}", "wb") as file:
                file.write(b"x" * STEP)
        total += STEP >> 20
        print("holding", total, "MiB", flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
