# Tries: to run ahead of its killer: each process starts the next and ends at once.
# With: seconds=3
import os
import time


def main():
    print("running ahead", flush=True)
    first = os.getpid()
    for _ in range(20):
        try:
            if os.fork() == 0:
                break
        except OSError:
            time.sleep(0.01)
    if os.getpid() == first:
        time.sleep(3600)
    while True:
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            time.sleep(0.001)
        if os.getpgrp() != os.getpid():
            os.setsid()



def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
