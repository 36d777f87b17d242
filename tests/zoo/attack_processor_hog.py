# Tries: to keep the host from ever getting a processor: many processes, the highest priorities, real-time classes.
# With: seconds=5
import os
import resource
import time


def main():
    for words, action in (
        ("nice -20", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)),
        ("real-time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))),
        ("round robin", lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))),
        ("no limit", lambda: resource.setrlimit(resource.RLIMIT_RTPRIO, (99, 99))),
    ):
        try:
            print("OBTAINED", words, action())
        except (OSError, ValueError) as error:
            print("refused", words, error)
    print("burning", flush=True)
    for _ in range(28):
        if os.fork() == 0:
            break
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        sum(range(100_000))
        os.sched_yield()


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
