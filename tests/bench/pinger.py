"""A process like any other of the host: small work fifty times a second, and how long after it was due it was done.

Writes and reads a file, starts a program and waits for it. A program of its own, so that no lock of the tests' Python
is measured with it.
"""

import os
import sys
import time

PING_S = 0.02
TRUE = "/bin/true"


def ping(folder: str) -> None:
    """Writes and reads a small file, starts a small program, and prints how long both took after they were due."""
    path = f"{folder}/ping"
    due = time.monotonic()
    while os.getppid() != 1:
        with open(path, "wb") as file:
            file.write(b"x" * 4096)
        with open(path, "rb") as file:
            file.read()
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)
        now = time.monotonic()
        print(due, now - due, flush=True)
        due = max(due + PING_S, now)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    ping(sys.argv[1])
