# Tries: to signal everyone: by number, by group, by session, by descriptor, by owner of a file, and the first process.
import fcntl
import os
import signal


def main():
    seen = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
    print("sees", seen)
    for pid in [*seen, *range(2, 5000, 7), -1, 0x7FFFFFFF]:
        if pid in (os.getpid(), os.getppid()) or len(seen) > 8:
            continue
        for how, action in (
            ("kill", lambda pid=pid: os.kill(pid, 0)),
            ("group", lambda pid=pid: os.killpg(abs(pid), 0)),
            ("descriptor", lambda pid=pid: signal.pidfd_send_signal(os.pidfd_open(abs(pid)), 0)),
        ):
            try:
                action()
                print("OBTAINED" if pid > 2 else "reached", how, pid)
            except (OSError, OverflowError):
                pass
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP):
        try:
            os.kill(1, number)
            print("sent to the first process:", number.name)
        except OSError as error:
            print("first process:", error)
    read, _ = os.pipe()
    for pid in (1, 2, -1, -os.getpgrp()):
        try:
            fcntl.fcntl(read, fcntl.F_SETOWN, pid)
        except OSError as error:
            print("owner", pid, error)
    os.setpriority(os.PRIO_PROCESS, 0, 19)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
