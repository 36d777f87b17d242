# Tries: to outlive its run: double fork, a session of its own, deaf to signals, no open pipes.
import contextlib
import os
import signal
import time


def main():
    for number in range(4):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            for one in range(1, signal.NSIG):
                if one not in (signal.SIGKILL, signal.SIGSTOP):
                    with contextlib.suppress(OSError, ValueError):
                        signal.signal(one, signal.SIG_IGN)
            if number % 2:
                os.closerange(0, 1024)
            end = time.time() + 600
            while time.time() < end:
                sum(range(10_000))
            os._exit(0)
    print("daemons started", flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
