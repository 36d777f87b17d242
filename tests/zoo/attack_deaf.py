# Tries: to stay alive: ignores every signal, stops itself and its children, floods its output.
import contextlib
import os
import signal


def main():
    for one in range(1, signal.NSIG):
        if one not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(one, signal.SIG_IGN)
    if os.fork() == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        os.write(1, b"noise " * 10_000)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
