# Tries: to keep the host's disk busy: writes, syncs and truncations without end in its folder for results.
# With: seconds=8
import os
import time


def main():
    end, rounds = time.monotonic() + 3.0, 0
    fd = os.open("/out/storm", os.O_CREAT | os.O_RDWR)
    while time.monotonic() < end:
        os.pwrite(fd, os.urandom(1 << 20), rounds % 4 << 20)
        os.fsync(fd)
        os.ftruncate(fd, 0)
        rounds += 1
    print(rounds, "rounds")
    os.sync()


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
