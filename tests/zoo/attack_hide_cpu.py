# Tries: to use processor time that nobody counts: children that are never waited for.
import contextlib
import os
import signal
import time


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in range(8):
        if os.fork() == 0:
            stop = time.process_time() + 0.2
            while time.process_time() < stop:
                sum(range(1000))
            os._exit(0)
        time.sleep(0.1)
    with contextlib.suppress(ChildProcessError):
        os.wait()  # returns, with nothing, when the last one is gone
    print("burnt", flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
